#!/usr/bin/env python3
"""Scores masking by type.

    score.py [FILE...] -- COMMAND...

Each line of a FILE is {"id", "text", "spans": [{"type", "start", "end"}]}, offsets in Unicode characters; no spans means that
nothing may be touched. Without a FILE it reads the *.jsonl beside it and the variants of variants.py, and holds the floors below:
no kind may miss more of its values, or mask more that is none, than it did when they were written. COMMAND reads {"id", "text"} and
writes {"id", "masked", "spans"}, a line each.

recall: expected values of which four fifths are masked. typed: those under their own name. precision: of what is masked, the
share that is expected. Exit: 0 scored, 1 below a floor, 2 the command failed.
"""
import json, pathlib, subprocess, sys
from collections import Counter

# Most values of a kind that are missed, and most masked values of a kind that are none; 0 where a kind is not listed.
MISSED = {"EMAIL": 1, "IBAN": 3, "MAC_ADDRESS": 1, "PHONE_NUMBER": 4, "UK_NINO": 1, "URL_CREDENTIALS": 1}
WRONG = {}
TOUCHED = 0

cut = sys.argv.index("--") if "--" in sys.argv else sys.exit(__doc__)
files = sys.argv[1:cut]
own = not files
files = files or sorted(pathlib.Path(__file__).parent.glob("*.jsonl"))
cases = [json.loads(line) for file in files for line in open(file, encoding="utf-8") if line.strip()]
if own:
    import variants
    cases += variants.cases()
feed = "".join(json.dumps({"id": case["id"], "text": case["text"]}) + "\n" for case in cases)
done = subprocess.run(sys.argv[cut + 1:], input=feed.encode(), stdout=subprocess.PIPE)
answers = {answer["id"]: answer for answer in map(json.loads, done.stdout.decode().splitlines())}
if done.returncode or len(answers) != len(cases):
    print(f"the command exited {done.returncode} with {len(answers)} answers of {len(cases)}", file=sys.stderr)
    sys.exit(2)

expected, found, typed, masked, right = Counter(), Counter(), Counter(), Counter(), Counter()
negatives = touched = 0
for case in cases:
    spans = answers[case["id"]]["spans"]
    for span in case["spans"]:
        chars = set(range(span["start"], span["end"]))
        covered = lambda some: len(chars & {at for s in some for at in range(s["start"], s["end"])}) >= 0.8 * len(chars)
        expected[span["type"]] += 1
        found[span["type"]] += covered(spans)
        typed[span["type"]] += covered([s for s in spans if s["type"] == span["type"]])
        if own and not covered(spans) and expected[span["type"]] - found[span["type"]] <= 20:
            print(f"missed {case['id']}: {case['text']!r}", file=sys.stderr)
    for span in spans:
        masked[span["type"]] += 1
        right[span["type"]] += any(span["start"] < e["end"] and e["start"] < span["end"] for e in case["spans"])
    if not case["spans"]:
        negatives += 1
        touched += bool(spans)
        if own and spans:
            print(f"touched {case['id']}: {case['text']!r} {spans}", file=sys.stderr)

share = lambda part, whole: f"{100 * part / whole:6.1f}" if whole else "     -"
print(f"{'type':28} {'values':>6} {'recall':>6} {'typed':>6} {'masked':>6} {'precision':>9}")
for kind in sorted(expected | masked):
    print(f"{kind:28} {expected[kind]:6} {share(found[kind], expected[kind])} {share(typed[kind], expected[kind])} "
          f"{masked[kind]:6} {share(right[kind], masked[kind]):>9}")
total = lambda counter: sum(counter.values())
print(f"{'all':28} {total(expected):6} {share(total(found), total(expected))} {share(total(typed), total(expected))} "
      f"{total(masked):6} {share(total(right), total(masked)):>9}")
print(f"cases that must not be touched: {touched} of {negatives} were", flush=True)
below = {kind: (expected[kind] - found[kind], masked[kind] - right[kind]) for kind in expected | masked
         if expected[kind] - found[kind] > MISSED.get(kind, 0) or masked[kind] - right[kind] > WRONG.get(kind, 0)}
if own and (below or touched > TOUCHED):
    print(f"below the floors, as kind: (missed, wrongly masked): {below}; touched {touched}, at most {TOUCHED}", file=sys.stderr)
    sys.exit(1)
