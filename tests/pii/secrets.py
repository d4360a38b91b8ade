#!/usr/bin/env python3
"""Writes secrets.jsonl: invented secrets of every kind and what only looks like them. The values are drawn with a fixed seed and put together here."""
import json, random, string
r = random.Random(20260101)
low, hexa, alnum = string.ascii_lowercase + string.digits, "0123456789abcdef", string.ascii_letters + string.digits
draw = lambda n, a=alnum: "".join(r.choice(a) for _ in range(n))
PREFIXED = [("ANTHROPIC_KEY", "sk-ant-" + "api03-", 93, alnum, "AA"), ("GITHUB_TOKEN", "gh" + "p_", 36, alnum, ""), ("GITHUB_TOKEN", "github" + "_pat_", 82, alnum, ""),
    ("GITLAB_TOKEN", "gl" + "pat-", 20, alnum, ""), ("STRIPE_KEY", "sk_" + "live_", 24, alnum, ""), ("GCP_KEY", "AI" + "za", 35, alnum, ""),
    ("AWS_KEY", "AK" + "IA", 16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", ""), ("OTHER_SECRET", "np" + "m_", 36, alnum, ""), ("OTHER_SECRET", "dop" + "_v1_", 64, hexa, ""),
    ("OTHER_SECRET", "shp" + "at_", 32, hexa, ""), ("OTHER_SECRET", "hv" + "s.", 96, alnum, ""), ("OTHER_SECRET", "gs" + "k_", 52, alnum, ""), ("OTHER_SECRET", "lin" + "_api_", 40, alnum, "")]
FORMS = ["{n} = \"{v}\"", "{n}: {v}", "export {n}={v}", "\"{n}\": \"{v}\",", "set('{n}', '{v}')", "<{n}>\n  {v}\n</{n}>"]
rows = []
def row(kind, target, tier, text, value=None):
    spans = [] if value is None else [{"type": target, "start": text.index(value), "end": text.index(value) + len(value)}]
    rows.append({"id": f"secrets/{len(rows):03}", "kind": kind, "target": target, "tier": tier, "text": text, "spans": spans, "licence": "Apache-2.0", "source": "invented"})
for kind, prefix, n, alphabet, end in PREFIXED:
    value = prefix + draw(n, alphabet) + end
    row("positive", kind, "strong", f"I pasted {value} by mistake, sorry.", value)
    row("negative", kind, "strong", f"It looks like {prefix}{'x' * n}{end} in the manual.")
for name in ["api_key", "APP_TOKEN", "clientSecret", "datadog_token", "sentryToken", "vault-token", "db_password", "service.secret"]:
    for form in FORMS:
        value = draw(24, low); row("positive", "GENERIC_SECRET", "weak", form.format(n=name, v=value), value)
        row("negative", "GENERIC_SECRET", "weak", form.format(n=name, v="${" + name.upper() + "}"))
for text in ["checksum = \"" + draw(64, hexa) + "\"", "request_id: 0192f1c4-7a3b-7c11-9d55-3a1f0be2c7d4", "primary_key = \"" + draw(16, hexa) + "\"",
             "The access token is valid for one hour.", "let key = self.keys.next_key_2()?;", "password: changeme", "token_url = https://id.test/oauth2/v1/token"]:
    row("negative", "GENERIC_SECRET", "weak", text)
with open(__file__.replace(".py", ".jsonl"), "w") as out:
    out.writelines(json.dumps(x, sort_keys=True) + "\n" for x in rows)
