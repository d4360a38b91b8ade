#!/usr/bin/env python3
"""Holds deploy/athena and deploy/duckdb to the schema, to each other, and to what the records say.

usage: queries.py FOLDER    with shipped segments, FOLDER/dt=DAY/host=HOST/audit-CHAIN-SEQ.jsonl.zst
"""

import collections
import json
import pathlib
import re
import sys
import tempfile

import duckdb
import sqlglot
import zstandard
from sqlglot import exp

ROOT = pathlib.Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"


def main(folder):
    columns = table_has_the_columns_of_the_schema()
    view_has_the_columns_of_the_table(folder, columns)
    segments = sorted(pathlib.Path(folder).rglob("*.zst"))
    lines = [json.loads(line) for path in segments for line in content(path).splitlines()]
    records_are_told_as_they_are(folder, lines)
    what_is_missing_is_told(segments, lines)


def content(path):
    return zstandard.ZstdDecompressor().stream_reader(path.open("rb")).read()


def queries(path):
    """The queries of a file by name."""
    parts = re.split(r"^-- name: (\w+)\n", path.read_text(), flags=re.M)
    return dict(zip(parts[1::2], parts[2::2]))


def table_has_the_columns_of_the_schema():
    table = sqlglot.parse_one((DEPLOY / "athena/table.sql").read_text(), read="athena")
    columns = {column.name: column.kind for column in table.this.expressions}
    schema = json.loads((ROOT / "docs/audit.schema.json").read_text())["$defs"]
    kinds = [schema[kind] for kind in ("request", "started", "stopped", "gap", "checkpoint")]
    assert set(columns) == {name for kind in kinds for name in kind["properties"]}, "a column is missing or too many"
    for kind in kinds:
        for name, member in kind["properties"].items():
            fits(name, columns[name], member, schema)
    properties = {one.name: one.args["value"].name for one in table.find_all(exp.Property) if type(one) is exp.Property}
    assert properties["storage.location.template"].endswith("/dt=${dt}/")
    return columns


def view_has_the_columns_of_the_table(folder, columns):
    described = Engine(folder, "", "").rows("DESCRIBE portcullis_audit", [])
    view = {row["column_name"]: exp.DataType.build(row["column_type"], dialect="duckdb") for row in described}
    assert view.pop("filename").sql("duckdb") == "TEXT"
    table = {name: exp.DataType.build(kind.sql("duckdb"), dialect="duckdb") for name, kind in columns.items()}
    assert list(view) == list(table), "a column is missing, too many or elsewhere"
    for name, kind in table.items():
        assert view[name].sql("duckdb").replace('"', "") == kind.sql("duckdb").replace('"', ""), f"{name}: {view[name]}"


def fits(name, column, member, schema):
    """The column's type is that of the member, at any depth."""
    if "$ref" in member:
        member = schema[member["$ref"].rsplit("/", 1)[1]]
    kinds = {
        "string": (exp.DataType.Type.TEXT, exp.DataType.Type.VARCHAR),
        "integer": (exp.DataType.Type.BIGINT, exp.DataType.Type.INT),
        "number": (exp.DataType.Type.DOUBLE,),
        "boolean": (exp.DataType.Type.BOOLEAN,),
        "array": (exp.DataType.Type.ARRAY,),
        "object": (exp.DataType.Type.STRUCT, exp.DataType.Type.MAP),
    }
    text_or_count = "integer" if "const" in member and isinstance(member["const"], int) else "string"
    kind = member.get("type", text_or_count)
    assert column.this in kinds[kind], f"{name}: {column} for {kind}"
    if kind == "array":
        fits(f"{name}[]", column.expressions[0], member["items"], schema)
    elif column.this == exp.DataType.Type.STRUCT:
        parts = {part.name: part.kind for part in column.expressions}
        assert set(parts) == set(member["properties"]), f"{name}: {sorted(parts)}"
        for part, of in member["properties"].items():
            fits(f"{name}.{part}", parts[part], of, schema)


class Engine:
    """DuckDB over the segments of a folder, asked in its own words and in Athena's."""

    def __init__(self, folder, subject, day):
        self.arguments = [subject, day]
        self.connection = duckdb.connect()
        variables = {"files": f"{folder}/**/*.zst", "since": "2000-01-01", "until": "2999-12-31"}
        for name, value in (variables | {"subject": subject, "day": day}).items():
            self.connection.execute(f"SET VARIABLE {name} = '{value}'")
        self.connection.execute((DEPLOY / "duckdb/view.sql").read_text())
        # What Athena adds to a table of its own: the partition, and where a line is.
        self.connection.execute(
            "CREATE VIEW athena AS SELECT *, filename AS \"$path\","
            " regexp_extract(filename, 'dt=([^/]+)/', 1) AS dt FROM portcullis_audit"
        )

    def ask(self, name):
        """The rows, which both give."""
        mine = self.rows(queries(DEPLOY / "duckdb/queries.sql")[name], [])
        (theirs,) = sqlglot.transpile(queries(DEPLOY / "athena/queries.sql")[name], read="athena", write="duckdb")
        more = self.arguments if name == "subject_day" else []
        theirs = theirs.replace("portcullis_audit", "athena")
        theirs = self.rows(theirs, ["2000-01-01", "2999-12-31", *more])
        assert mine == theirs, f"{name}: {mine} is not {theirs}"
        return mine

    def rows(self, query, arguments):
        result = self.connection.execute(query, arguments)
        names = [column[0] for column in result.description]
        return [dict(zip(names, row)) for row in result.fetchall()]


def records_are_told_as_they_are(folder, lines):
    ends = [line for line in lines if line["event"] == "end"]
    subject, day = ends[0]["subject"], ends[0]["time"][:10]
    engine = Engine(folder, subject, day)

    calls = collections.Counter((end["subject"], end.get("answered_by", end["models"][0])) for end in ends)
    usage = engine.ask("usage")
    assert {(row["subject"], row["model"]): row["calls"] for row in usage} == calls, usage
    cost = sum(end.get("cost_micro_usd", 0) for end in ends)
    assert cost > 0 and round(sum(row["cost_usd"] or 0 for row in usage) * 1e6) == cost, usage
    for name in ("input_tokens", "output_tokens"):
        assert sum(row[name] or 0 for row in usage) == sum(end.get("usage", {}).get(name, 0) for end in ends) > 0, usage

    refused = [line for line in lines if line["event"] == "refused"]
    reasons = collections.Counter((line["reason"], line.get("status")) for line in refused)
    refusals = engine.ask("refusals")
    assert len(reasons) >= 2 and {(row["reason"], row["status"]): row["requests"] for row in refusals} == reasons

    mine = [line for line in lines if line.get("subject") == subject and line["event"] != "begin" and line["time"][:10] == day]
    told = engine.ask("subject_day")
    assert {row["request_id"] for row in told} == {line["request_id"] for line in mine} and len(told) == len(mine)

    members = collections.Counter((end["time"][:7], team) for end in ends for team in end.get("teams", ["(none)"]))
    months = engine.ask("team_months")
    assert {(row["month"], row["team"]): row["calls"] for row in months} == members, months

    assert engine.ask("endless") == [] and engine.ask("gaps") == []


def what_is_missing_is_told(segments, lines):
    """Takes the end of one call away."""
    end = next(line for line in lines if line["event"] == "end")
    with tempfile.TemporaryDirectory() as copy:
        for segment in segments:
            folder = pathlib.Path(copy, *segment.parts[-3:-1])
            folder.mkdir(parents=True, exist_ok=True)
            kept = [line for line in content(segment).splitlines() if json.loads(line)["seq"] != end["seq"]]
            (folder / segment.name).write_bytes(zstandard.compress(b"\n".join(kept) + b"\n"))
        engine = Engine(copy, end["subject"], end["time"][:10])
        (endless,) = engine.ask("endless")
        assert (endless["request_id"], endless["subject"]) == (end["request_id"], end["subject"]), endless
        (gap,) = engine.ask("gaps")
        assert gap["first_missing"] == gap["last_missing"] == end["seq"] and gap["chain"].endswith("/audit-0"), gap


if __name__ == "__main__":
    main(sys.argv[1])
