#!/usr/bin/env python3
"""Holds documents and deploy/ to what is there: metrics, tests, links, and the commands that operators are told to run.

PORTCULLIS_BIN is the binary whose --help counts; default target/debug/portcullis.
"""

import functools
import os
import pathlib
import re
import shlex
import subprocess

ROOT = pathlib.Path(__file__).parents[2]
BINARY = os.environ.get("PORTCULLIS_BIN", str(ROOT / "target/debug/portcullis"))
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "deploy").rglob("*.md"))]


def main():
    print(f"documents: {metrics_are_documented()} metrics, {tests_exist()} tests, {links_lead_somewhere()} links and "
          f"{commands_are_the_binarys()} commands hold")


def metrics_are_documented():
    documented = set()
    for page in ("metrics.md", "keys.md"):
        for name in re.findall(r"`(portcullis_\w+|…_\w+)(?:\{[\w,]*\})?`", (ROOT / "docs" / page).read_text()):
            documented.add(name.replace("…", "portcullis_upstream_key"))
    used = set()
    for folder in ("alertmanager", "cloudwatch", "grafana", "prometheus"):
        for path in (ROOT / "deploy" / folder).rglob("*"):
            if path.is_file():
                for name in re.findall(r"\bportcullis_[a-z_]+\b(?!:)", path.read_text()):
                    used.add((name, path.relative_to(ROOT)))
    for name, path in sorted(used, key=str):
        known = name in documented or re.sub(r"_(bucket|sum|count)$", "", name) in documented
        assert known, f"{path}: docs/metrics.md has no {name}"
    assert used
    return len({name for name, _ in used})


def tests_exist():
    """`FILE::NAME` anywhere, and at least one in each row of a table of compliance.md that has a column of tests."""
    count = 0
    for page in PAGES:
        for file, name in re.findall(r"`((?:src|tests)/[\w/.-]+\.(?:rs|py))::(\w+)`", page.read_text()):
            count += 1
            assert is_test(file, name), f"{page.name}: {file} has no test {name}"
    tests = None
    for line in (ROOT / "docs/compliance.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            tests = None
        elif "Test" in cells:
            tests = cells.index("Test")
        elif tests is not None and not set(cells[0]) <= set("- "):
            assert "::" in cells[tests], f"compliance.md: {cells[0]} has no test"
    return count


@functools.cache
def is_test(file, name):
    text = (ROOT / file).read_text()
    if file.endswith(".py"):
        return re.search(rf"^def {name}\(", text, flags=re.M) is not None
    return re.search(rf"#\[(?:tokio::)?test[^\]]*\]\s*(?:#\[[^\]]*\]\s*)*(?:async )?fn {name}\(", text) is not None


def links_lead_somewhere():
    count = 0
    for page in PAGES:
        text = re.sub(r"^ *```.*?^ *```", "", page.read_text(), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"\w+:", target):
                count += 1
                file, _, part = target.partition("#")
                goal = page.parent / file if file else page
                assert goal.exists(), f"{page.name}: {target}"
                if part:
                    assert part in anchors(goal), f"{page.name}: {target}"
    return count


def anchors(page):
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.M)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def commands_are_the_binarys():
    """Each `portcullis ...` in a block of code has subcommands and options that --help has."""
    count = 0
    for page in PAGES:
        for block in re.findall(r"^ *```(?:sh|bash|)\n(.*?)^ *```", page.read_text(), flags=re.M | re.S):
            for line in block.replace("\\\n", " ").splitlines():
                for words in invocations(line):
                    check(page.name, line, words)
                    count += 1
    # What the column of evidence says in short.
    for words in re.findall(r"`((?:audit|doctor|explain|redact)(?: [^`]*)?)`", (ROOT / "docs/compliance.md").read_text()):
        check("compliance.md", words, words.split())
        count += 1
    return count


def invocations(line):
    try:
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;()<>")
        lexer.whitespace_split = True
        words = list(lexer)
    except ValueError:
        return  # no command of a shell
    for start, word in enumerate(words):
        if re.fullmatch(r"(?:\S*/)?portcullis", word) and start + 1 < len(words) and re.fullmatch(r"[a-z][a-z-]*", words[start + 1]):
            before = words[start - 1] if start else "|"
            if start and not (set(before) <= set("|&;(") or before in ("sudo", "exec") or {"sudo", "as_portcullis"} & set(words[:start]) or "=" in before):
                continue
            rest = words[start + 1 :]
            end = next((i for i, one in enumerate(rest) if set(one) <= set("|&;()<>")), len(rest))
            yield rest[:end]


def check(page, line, words):
    path = []
    while words and (words[0] in subcommands(tuple(path))):
        path.append(words.pop(0))
    assert path, f"{page}: portcullis has no command in {line!r}"
    assert not subcommands(tuple(path)) or words[:1] == ["--help"], f"{page}: {line!r} names no command of {path}"
    known = help_of(tuple(path))
    for word in words:
        if word.startswith("--") and word != "--":
            option = word.split("=")[0]
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", known), f"{page}: `portcullis {' '.join(path)}` has no {option}"


@functools.cache
def help_of(path):
    return subprocess.run([BINARY, *path, "--help"], capture_output=True, text=True, check=True).stdout


@functools.cache
def subcommands(path):
    listed = re.search(r"^Commands:\n((?:  .*\n|\n(?=  ))+)", help_of(path), flags=re.M)
    return set(re.findall(r"^  ([a-z][a-z-]*)", listed[1], flags=re.M)) if listed else set()


if __name__ == "__main__":
    main()
