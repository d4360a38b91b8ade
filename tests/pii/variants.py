#!/usr/bin/env python3
"""Variants of every kind of docs/privacy.md, drawn with a fixed seed: national formats, separators, words of seven languages,
places in files and code, and ways to write a character. `variants.py` prints them as JSON lines; `score.py` scores them too.

Written from the documentation and the standards, not from what the detectors do. Values are invented and put together here.
"""
import json, random, string

r = random.Random(20260202)
DIGITS, LOW, UP, HEX = string.digits, string.ascii_lowercase, string.ascii_uppercase, "0123456789abcdef"
ALNUM = UP + LOW + DIGITS
draw = lambda n, of=DIGITS: "".join(r.choice(of) for _ in range(n))
join = lambda text, sizes, by: by.join(text[sum(sizes[:i]):sum(sizes[:i + 1])] for i in range(len(sizes)))

def luhn(body):
    for c in DIGITS:
        total = 0
        for i, d in enumerate(reversed(body + c)):
            d = int(d) * (1 + i % 2); total += d - 9 * (d > 9)
        if total % 10 == 0: return body + c

def weighted(weights, modulus, finish=lambda s: s):
    def complete(size):
        while True:
            body = draw(size)
            check = finish(sum(int(d) * w for d, w in zip(body, weights)) % modulus)
            if body[0] != "0" and 0 <= check <= 9: return body + str(check)
    return complete

def iban(country, bban):
    number = "".join(str(int(c, 36)) for c in bban + country + "00")
    return f"{country}{98 - int(number) % 97:02}{bban}"

def verhoeff(body):
    d = [[0,1,2,3,4,5,6,7,8,9],[1,2,3,4,0,6,7,8,9,5],[2,3,4,0,1,7,8,9,5,6],[3,4,0,1,2,8,9,5,6,7],[4,0,1,2,3,9,5,6,7,8],
         [5,9,8,7,6,0,4,3,2,1],[6,5,9,8,7,1,0,4,3,2],[7,6,5,9,8,2,1,0,4,3],[8,7,6,5,9,3,2,1,0,4],[9,8,7,6,5,4,3,2,1,0]]
    p = [[0,1,2,3,4,5,6,7,8,9],[1,5,7,6,2,8,3,0,9,4]]
    while len(p) < 8: p.append([p[-1][p[1][i]] for i in range(10)])
    for c in DIGITS:
        check = 0
        for i, n in enumerate(reversed(body + c)): check = d[check][p[i % 8][int(n)]]
        if check == 0: return body + c

def dea():
    b = draw(6); return r.choice("ABFM") + r.choice(UP) + b + str((sum(int(b[i]) * (1 + i % 2) for i in range(6))) % 10)

def ssn(): return f"{r.randint(100, 665)}{r.randint(10, 99)}{r.randint(1001, 9998)}"
def itin(): return f"9{draw(2)}{r.choice([70, 77, 85, 94])}{r.randint(1001, 9998)}"
def npi():
    while True:
        body = "1" + draw(8)
        if luhn("80840" + body): return luhn("80840" + body)[5:]
def mbi():
    a, n = "ACDEFGHJKMNPQRTUVWXY", DIGITS
    return r.choice("123456789") + r.choice(a) + r.choice(a + n) + r.choice(n) + r.choice(a) + r.choice(a + n) + r.choice(n) + draw(2, a) + draw(2, n)
def pesel():
    b = f"{r.randint(50, 99)}{r.randint(1, 12):02}{r.randint(1, 28):02}{draw(4)}"
    return b + str((10 - sum(int(d) * w for d, w in zip(b, [1,3,7,9,1,3,7,9,1,3])) % 10) % 10)
def tckn():
    b = r.choice("123456789") + draw(8); t = (7 * sum(map(int, b[::2])) - sum(map(int, b[1::2]))) % 10
    return b + str(t) + str((sum(map(int, b)) + t) % 10)
def nif(): n = draw(8); return n + "TRWAGMYFPDXBNJZSQVHLCKE"[int(n) % 23]
def nie(): i = r.randint(0, 2); n = draw(7); return "XYZ"[i] + n + "TRWAGMYFPDXBNJZSQVHLCKE"[int(str(i) + n) % 23]
def hetu(): d = f"{r.randint(1, 28):02}{r.randint(1, 12):02}{r.randint(40, 99)}"; n = f"{r.randint(2, 899):03}"; return f"{d}-{n}" + "0123456789ABCDEFHJKLMNPRSTUVWXY"[int(d + n) % 31]
def nir(): b = f"{r.randint(1, 2)}{r.randint(40, 99)}{r.randint(1, 12):02}{r.randint(10, 95)}{r.randint(1, 900):03}{r.randint(1, 900):03}"; return b + f"{97 - int(b) % 97:02}"
def nric(): n = draw(7); return "S" + n + "JZIHGFEDCBA"[sum(int(d) * w for d, w in zip(n, [2,7,6,5,4,3,2])) % 11]
def taxid():
    while True:
        digits = r.sample(DIGITS, 9); b = "".join(digits) + r.choice(digits)
        if b[0] == "0": continue
        p = 10
        for c in b:
            s = (int(c) + p) % 10 or 10; p = s * 2 % 11
        if 11 - p < 11: return b + str((11 - p) % 10)
def personnummer(): return luhn(f"{r.randint(40, 99)}{r.randint(1, 12):02}{r.randint(1, 28):02}{draw(3)}")
def thai():
    b = r.choice("1345") + r.choice(["10", "34", "52", "83"]) + draw(9)
    return b + str((11 - sum(int(d) * w for d, w in zip(b, range(13, 1, -1))) % 11) % 10)
def rrn():
    while True:
        b = f"{r.randint(60, 99)}{r.randint(1, 12):02}{r.randint(1, 28):02}{r.choice('12')}{draw(5)}"
        return b + str((11 - sum(int(d) * w for d, w in zip(b, [2,3,4,5,6,7,8,9,2,3,4,5])) % 11) % 10)
def zaid(): return luhn(f"{r.randint(50, 99)}{r.randint(1, 12):02}{r.randint(1, 28):02}{draw(4)}08")
def nhs(): return weighted([10,9,8,7,6,5,4,3,2], 11, lambda s: (11 - s) % 11)(9)
def sin():
    while True:
        v = luhn(r.choice("1234567") + draw(7))
        if v: return v
def aba():
    while True:
        b = r.choice(["01", "02", "03", "06", "11", "12", "26", "31"]) + draw(6)
        return b + str(-sum(int(d) * w for d, w in zip(b, [3,7,1,3,7,1,3,7])) % 10)
def tfn():
    while True:
        v = draw(9)
        if v[0] != "0" and sum(int(d) * w for d, w in zip(v, [1,4,3,7,5,8,6,9,10])) % 11 == 0: return v

# Words that name a kind, by language: English, German, French, Spanish, Italian, Dutch, Portuguese.
WORDS = {
    "EMAIL": ["email", "E-Mail-Adresse", "courriel", "correo electrónico", "posta elettronica", "e-mailadres", "correio eletrónico"],
    "PHONE_NUMBER": ["phone", "Telefonnummer", "téléphone", "teléfono", "telefono", "telefoonnummer", "telemóvel", "Rufnummer", "portable", "móvil", "cellulare", "mobiel", "telefone", "Handynummer", "mobile"],
    "CREDIT_CARD": ["card", "Kreditkarte", "carte bancaire", "tarjeta de crédito", "carta di credito", "creditcard", "cartão de crédito"],
    "IBAN": ["IBAN", "Kontoverbindung", "compte", "cuenta", "conto", "rekening", "conta"],
    "US_BANK_NUMBER": ["account number", "Kontonummer", "numéro de compte", "número de cuenta", "numero di conto", "rekeningnummer", "número da conta"],
    "US_SSN": ["SSN", "Sozialversicherungsnummer", "numéro de sécurité sociale", "número de seguridad social", "codice previdenza sociale", "burgerservicenummer", "segurança social"],
    "US_ITIN": ["ITIN", "Steuernummer", "numéro fiscal", "identificación fiscal", "codice fiscale", "belastingnummer", "contribuinte"],
    "PASSPORT": ["passport", "Reisepass", "passeport", "pasaporte", "passaporto", "paspoort", "passaporte", "Passnummer", "passport no."],
    "US_DRIVER_LICENSE": ["driver license", "Führerschein", "permis de conduire", "permiso de conducir", "patente", "rijbewijs", "carta de condução", "driving licence", "licencia de conducir"],
    "MEDICAL_RECORD_NUMBER": ["MRN", "Patientennummer", "numéro de patient", "historia clínica", "cartella clinica", "patiëntnummer", "número do paciente", "medical record number", "patient ID"],
    "DATE_OF_BIRTH": ["date of birth", "Geburtsdatum", "date de naissance", "fecha de nacimiento", "data di nascita", "geboortedatum", "data de nascimento", "DOB", "born", "geboren am", "né le", "nacido el", "nata il", "geboren op", "nascido em"],
    "PASSWORD": ["password", "Passwort", "mot de passe", "contraseña", "parola d'accesso", "wachtwoord", "senha", "Kennwort", "palavra-passe"],
}
for kind, like in {"UK_NHS": [["NHS number"]], "UK_NINO": [["national insurance number"]], "US_NPI": [["NPI"]], "MEDICAL_LICENSE": [["DEA"]], "US_MBI": [["medicare"]],
                   "ABA_ROUTING_NUMBER": [["routing number", "ABA", "RTN"]]}.items(): WORDS[kind] = like[0]

PHONES = ["+49 30 1234567", "+49 (0)171 2345678", "+33 6 12 34 56 78", "+351 912 345 678", "+31 (0)20 123 4567", "+39 06 1234 5678", "+34 612 34 56 78",
    "+41 44 668 18 00", "+43 1 2345678", "+32 2 555 12 12", "+45 32 12 34 56", "+46 8 123 456 78", "+358 40 123 4567", "+48 22 123 45 67", "+420 601 123 456",
    "+91 98765 43210", "+81-3-1234-5678", "+61 2 9374 4000", "+353 1 234 5678", "+7 (495) 123-45-67", "+86 138 1234 5678", "+972-3-123-4567", "+971 4 123 4567",
    "+52 55 1234 5678", "+54 9 11 1234-5678", "+27 21 123 4567", "+55 (11) 91234-5678", "+1.415.555.0132", "+1-800-356-9377", "+1 (415) 555-0132 ext. 12",
    "0049 30 1234567", "0033 6 12 34 56 78", "030 1234567", "(030) 1234567", "030/1234567", "0171-1234567", "06 12 34 56 78", "06.12.34.56.78", "020 7946 0958",
    "07700 900123", "06-12345678", "06-12 34 56 78", "+33(0)6.12.34.56.78", "+39.347.1234567", "0421 234 567", "044 668 18 00", "(415) 555-0132", "415-555-0132", "415.555.0132", "1-800-356-9377", "(02) 9374 4000", "090-1234-5678", "138 1234 5678"]
NAMED_PHONES = ["612 34 56 78", "912 345 678", "347 123 4567", "(11) 91234-5678", "32 12 34 56", "601 123 456", "555-0132", "22 123 45 67", "98765 43210", "4155550132", "0612345678"]
PASSPORTS = ["C01X00T47", "12AB34567", "PAB123456", "YA1234567", "NW1234567", "CA123456", "X1234567", "P1234567", "N1234567", "GA302922", "J8369854", "TK1234567", "E12345678", "FZ123456", "G12345678", "533380006", "70 1234567", "4509 123456"]
LICENCES = ["A1234567", "123456789", "F123-456-78-901-0", "D123-4567-8901", "12345678", "B072RRE2I55", "123456789012", "S123-4567-8901-23", "A1234-56789-01234", "AB1234567C", "1234567890", "L-1234567"]
DATES = ["12.03.1984", "12/03/1984", "1984-03-12", "12-03-1984", "3/12/84", "12 March 1984", "March 12, 1984", "12-Mar-1984", "12th of March 1984", "12. März 1984", "12 mars 1984",
    "12 de marzo de 1984", "12 marzo 1984", "12 maart 1984", "12 de março de 1984", "1984/03/12", "12 décembre 1984", "1er mai 1984", "12 gennaio 1984", "12 Mai 1984", "12 12 1984", "1984-03-12T00:00:00Z", "19840312", "12.3.84"]
IBANS = [iban(c, b) for c, b in [("DE", "370400440532013000"), ("FR", "20041010050500013M02606"), ("ES", "21000418450200051332"), ("IT", "X0542811101000000123456"), ("NL", "ABNA0417164300"),
    ("PT", "000201231234567890154"), ("BE", "539007547034"), ("AT", "1904300234573201"), ("CH", "00762011623852957"), ("PL", "109010140000071219812874"), ("SE", "50000000058398257466"),
    ("NO", "86011117947"), ("LU", "0019400644750000"), ("MT", "MALT011000012345MTLCAST001S"), ("GB", "NWBK60161331926819"), ("IE", "AIBK93115212345678")]]
CARDS = [luhn(p + draw(n - len(p) - 1)) for p, n in [("4", 16), ("4539", 16), ("51", 16), ("2221", 16), ("6011", 16), ("3530", 16), ("62", 16), ("506699", 16), ("37", 15), ("34", 15), ("3056", 14), ("4", 13), ("6759", 16)]]
V4 = ["192.0.2.17", "203.0.113.9", "10.20.30.40", "172.16.254.1"]
V6 = ["2001:db8:85a3::8a2e:370:7334", "2001:0DB8:0000:0000:0000:8A2E:0370:7334", "fe80::1ff:fe23:4567:890a", "::ffff:192.0.2.128", "2a00:1450:4009:80b::200e"]
MACS = ["00:1A:2b:3c:4D:5e", "00-1A-2B-3C-4D-5E", "001a.2b3c.4d5e"]

def spellings(digits, sizes, marks=("", " ", "-", ".", " - ")):
    return [join(digits, sizes, mark) for mark in marks]

def card(digits):
    sizes = {16: [4, 4, 4, 4], 15: [4, 6, 5], 14: [4, 6, 4], 13: [13]}[len(digits)]
    return spellings(digits, sizes)

def four(text): return [text[i:i + 4] for i in range(0, len(text), 4)]

# Kind -> values that need no word, and values that do.
VALUES = {
    "EMAIL": (["ann.lee@example.com", "o'brien@example.ie", "j.müller@firma.example.de", "x+tag@sub.example.co.uk", "first_last-99@example.travel", "ann@xn--bcher-kva.example", "ANN@EXAMPLE.ORG"], []),
    "PHONE_NUMBER": (PHONES, NAMED_PHONES),
    "CREDIT_CARD": ([v for c in CARDS for v in card(c)], []),
    "IBAN": ([v for i in IBANS for v in (i, " ".join(four(i)), "-".join(four(i)), i.lower(), " ".join(four(i)).lower())], []),
    "ABA_ROUTING_NUMBER": ([], [v for n in (aba(), aba()) for v in (n, join(n, [4, 4, 1], "-"))]),
    "US_BANK_NUMBER": ([], ["12345678901", "0011223344", "4432 1187 65", "00-112233-44", "1234567"]),
    "US_SSN": ([join(ssn(), [3, 2, 4], m) for m in ("-", " ", ".", " - ") for _ in range(3)], [ssn(), ssn()]),
    "US_ITIN": ([join(itin(), [3, 2, 4], m) for m in ("-", " ", ".")], [itin()]),
    "PASSPORT": ([], PASSPORTS),
    "US_DRIVER_LICENSE": ([], LICENCES),
    "UK_DRIVING_LICENCE": (["MORGA753116SM9IJ", "MORGA 753116 SM9IJ", "morga753116sm9ij"], []),
    "US_NPI": ([npi()], [join(npi(), [4, 3, 3], "-")]),
    "US_MBI": ([m for v in (mbi(), mbi()) for m in (v, join(v, [4, 3, 4], "-"), join(v, [4, 3, 4], " "))], []),
    "MEDICAL_LICENSE": ([dea(), dea()], []),
    "MEDICAL_RECORD_NUMBER": ([], ["00482913", "A-482913", "482-91-35", "H00482913", "1234567", "482 913 55"]),
    "UK_NHS": ([m for v in (nhs(), nhs()) for m in (join(v, [3, 3, 4], " "), join(v, [3, 3, 4], "-"))], [nhs()]),
    "UK_NINO": (["AB 12 34 56 C", "AB123456C", "AB-12-34-56-C", "AB 123456 C", "jk 65 43 21 d"], []),
    "IP_ADDRESS": (V4 + V6 + ["192.0.2.0/24", "2001:db8::/32", "{203.0.113.9}:8443", "[{2001:db8::7}]:443", "fe80::1ff:fe23:4567:890a%eth0"], []),
    "MAC_ADDRESS": (MACS, []),
    "DATE_OF_BIRTH": ([], DATES),
    "CRYPTO": (["1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2", "3J98t1WpEZ73CNmQviecrnyiWrnqRhWNLy", "bc1qar0srrr7xfkvy5l643lydnw9re59gtzzwf5mdq", "0x52908400098527886E0F7030069857D2E4169EE7"], []),
    "URL_CREDENTIALS": (["postgres://{app:" + "s3cr3tpw}@db.example.net/x", "https://{joe:" + "Tr0ub4dor}@example.com/", "redis://{:" + "p4ssW0rdx}@cache:6379/0"], []),
    "NATIONAL_ID": ([], ["DNI 12345678", "BSN 123456782", "CPF 123.456.789-09", "AHV 756.9217.0769.85", "Personalausweis L01X00T471", "cédula 1.234.567-8"]),
    "TAX_NUMBER": ([], ["TIN 000-123-456-001", "Steuernummer 12/345/67890", "NIF 123456789", "numéro fiscal 12 34 567 890 123", "codice fiscale 12345678901"]),
    "CA_SIN": ([join(sin(), [3, 3, 3], m) for m in ("-", " ")], [sin()]),
    "AU_TFN": ([join(tfn(), [3, 3, 3], " ")], [tfn()]),
    "DE_TAX_ID": ([taxid(), join(taxid(), [2, 3, 3, 3], " ")], []),
    "ES_NIF": ([nif(), (lambda v: v[:8] + "-" + v[8])(nif()), (lambda v: f"{v[:2]}.{v[2:5]}.{v[5:8]}-{v[8]}")(nif())], []),
    "ES_NIE": ([nie(), (lambda v: v[0] + "-" + v[1:8] + "-" + v[8])(nie())], []),
    "FI_PERSONAL_IDENTITY_CODE": ([hetu(), hetu()], []),
    "FR_SOCIAL_SECURITY": ([nir(), join(nir(), [1, 2, 2, 2, 3, 3, 2], " ")], []),
    "IN_AADHAAR": ([join(verhoeff("2345" + draw(7)), [4, 4, 4], m) for m in (" ", "-")], []),
    "KR_RRN": ([join(rrn(), [6, 7], "-"), rrn()], []),
    "PL_PESEL": ([pesel()], []),
    "SE_PERSONNUMMER": ([join(personnummer(), [6, 4], "-"), "19" + personnummer()], []),
    "SG_NRIC_FIN": ([nric()], []),
    "TH_TNIN": ([thai(), join(thai(), [1, 4, 5, 2, 1], "-")], []),
    "TR_NATIONAL_ID": ([tckn()], []),
    "ZA_ID_NUMBER": ([zaid()], []),
}
NAMES = {"EMAIL": "email", "PHONE_NUMBER": "phone", "CREDIT_CARD": "card_number", "IBAN": "iban", "ABA_ROUTING_NUMBER": "routing_number", "US_BANK_NUMBER": "bank_account", "US_SSN": "ssn", "US_ITIN": "tax_id",
    "PASSPORT": "passport_no", "US_DRIVER_LICENSE": "driver_license", "MEDICAL_RECORD_NUMBER": "mrn", "DATE_OF_BIRTH": "date_of_birth", "US_NPI": "npi", "UK_NHS": "nhs_number", "AU_TFN": "tfn", "CA_SIN": "sin"}
CAMELS = {"PHONE_NUMBER": "homePhone", "CREDIT_CARD": "cardNumber", "US_SSN": "userSsn", "PASSPORT": "passportNumber", "US_DRIVER_LICENSE": "driverLicense", "DATE_OF_BIRTH": "dateOfBirth", "ABA_ROUTING_NUMBER": "routingNumber", "MEDICAL_RECORD_NUMBER": "patientId", "EMAIL": "userEmail", "US_BANK_NUMBER": "bankAccountNumber", "US_ITIN": "taxId"}

# Places: a template of a name and a value.
PLACES = {
    "bare": "{v}", "colon": "{k}: {v}", "sentence": "Her {k} is {v}, as we said.", "end": "It is {v}.", "brackets": "the one on file ({v})",
    "json": "{{\"id\": 7, \"{k}\": \"{v}\"}}", "json_tight": "{{\"{k}\":\"{v}\",\"n\":1}}", "json_in_json": "{{\"body\": \"{{\\\"{k}\\\": \\\"{v}\\\"}}\"}}", "json_array": "[\"{v}\", \"x\"]",
    "yaml": "user:\n  {k}: {v}\n  age: 4\n", "yaml_quoted": "- {k}: '{v}'\n", "csv": "id,{k},city\n17,{v},Rome\n", "csv_quoted": "\"17\",\"{v}\",\"Rome\"", "csv_semicolon": "17;{v};Rome", "tsv": "17\t{v}\tRome",
    "ini": "[user]\n{k}={v}\n", "ini_blanks": "{k} = {v}\n", "shell": "export {K}='{v}'", "argument": "tool --{k}='{v}' run", "argument_blank": "tool --{k} \"{v}\"", "rust": "let {k} = \"{v}\";", "go": "{k} := \"{v}\"",
    "php": "$user['{k}'] = '{v}';", "sql": "INSERT INTO t VALUES (17, '{v}', NULL);", "xml": "<{k}>{v}</{k}>", "attribute": "<user {k}=\"{v}\"/>", "markdown": "- **{k}**: {v}\n", "table": "| {k} | {v} |", "code": "`{v}`",
    "quote": "> {v}\n> more", "html": "<td>{v}</td>", "log": "INFO user=7 {k}={v} status=ok", "logfmt": "{k}=\"{v}\" level=info", "brackets_square": "[{v}]", "next_line": "{k}:\n{v}\n", "comment": "# {v}", "equals_tight": "{k}={v}&b=1",
    "smart_quotes": "\u201c{v}\u201d", "after_newline_escape": "first\\n{v}\\nlast", "tab_escape": "a\\t{v}\\tb",
}
def qp_break(v): i = max(2, len(v) // 2); return v[:i] + "=\r\n" + v[i:]
def wide(v): return "".join(chr(ord(c) + 0xfee0) if c.isdigit() else c for c in v)
def each(chars, form): return lambda v: "".join(form(c) if c in chars else c for c in v)
MARKS = " -.@:+()/"
WRITINGS = {
    "nbsp": lambda v: v.replace(" ", "\u00a0"), "narrow_nbsp": lambda v: v.replace(" ", "\u202f"), "thin": lambda v: v.replace(" ", "\u2009"), "ideographic": lambda v: v.replace(" ", "\u3000"),
    "nb_hyphen": lambda v: v.replace("-", "\u2011"), "en_dash": lambda v: v.replace("-", "\u2013"), "minus": lambda v: v.replace("-", "\u2212"), "wide_hyphen": lambda v: v.replace("-", "\uff0d"), "wide": wide,
    "wide_all": lambda v: "".join(chr(ord(c) + 0xfee0) if "!" <= c <= "~" else c for c in v), "arabic": lambda v: "".join(chr(0x660 + int(c)) if c in DIGITS else c for c in v), "devanagari": lambda v: "".join(chr(0x966 + int(c)) if c in DIGITS else c for c in v),
    "json_escape": each(MARKS, lambda c: f"\\u{ord(c):04x}"), "js_hex": each(MARKS, lambda c: f"\\x{ord(c):02x}"), "json_slash": lambda v: v.replace("/", "\\/"), "entity": each(MARKS, lambda c: f"&#{ord(c)};"), "entity_hex": each(MARKS, lambda c: f"&#x{ord(c):X};"),
    "entity_nbsp": lambda v: v.replace(" ", "&nbsp;"), "entity_all": each(ALNUM + MARKS, lambda c: f"&#{ord(c)};"), "percent": each("@: +", lambda c: f"%{ord(c):02X}"), "qp_soft_break": qp_break, "qp_at": lambda v: v.replace("@", "=40"), "qp_nbsp": lambda v: v.replace(" ", "=C2=A0"),
    "zero_width": lambda v: v[:3] + "\u200b" + v[3:], "soft_hyphen": lambda v: v[:4] + "\u00ad" + v[4:], "bidi": lambda v: "\u202a" + v + "\u202c", "markdown_escape": each("-._+()@", lambda c: "\\" + c), "double_blank": lambda v: v.replace(" ", "  "),
    "line_break": lambda v: v.replace(" ", "\n", 2).replace("\n", " ", 1) if v.count(" ") > 1 else v.replace(" ", "\n"), "quoted_line_break": lambda v: v.replace(" ", "\n> ", 1), "underscore": lambda v: v.replace("-", "_"), "slash": lambda v: v.replace("-", "/"), "mid_dot": lambda v: v.replace(".", "\u00b7"),
}
# What is another value, or none, once it is written so.
EXCEPT = {"underscore": {"CREDIT_CARD", "IBAN"}, "slash": {"US_SSN"}, "double_blank": {"CREDIT_CARD", "IBAN", "US_SSN"}, "line_break": {"CREDIT_CARD", "IBAN"}, "quoted_line_break": {"CREDIT_CARD", "IBAN"}, "mid_dot": {"PHONE_NUMBER"}}

rows = []
def row(kind, place, writing, text, value=None):
    spans = [] if value is None else [{"type": kind, "start": text.index(value), "end": text.index(value) + len(value)}]
    rows.append({"id": f"variants/{len(rows):05}/{kind}/{place}/{writing}", "kind": "negative" if value is None else "positive", "text": text, "spans": spans})

def put(kind, place, writing, name, value):
    """Only what stands between braces is the value, where there are some."""
    text = PLACES[place].format(k="\0", K="\1", v="\2")
    before, whole, after = value.partition("{")[0], value.replace("{", "").replace("}", ""), value.rpartition("}")[2]
    expected = whole[len(before):len(whole) - len(after)] if "{" in value else value
    row(kind, place, writing, text.replace("\0", name).replace("\1", name.upper()).replace("\2", whole), expected)

def personal():
    places = list(PLACES); turn = 0
    for kind, (free, named) in VALUES.items():
        words = WORDS.get(kind, []); name = NAMES.get(kind, kind.lower())
        for i, value in enumerate(free + named):
            needs = i >= len(free)
            if kind in ("NATIONAL_ID", "TAX_NUMBER"):
                word, number = value.rsplit(" ", 1) if not value.startswith("num") else ("numéro fiscal", "12 34 567 890 123")
                for place in ("colon", "json", "ini", "sentence", "table", "markdown"): put(kind, place, "word", word, number)
                continue
            for place in places if i < 3 else [places[(turn + j * 7) % len(places)] for j in range(4)]:
                template = PLACES[place]
                if needs and "{k}" not in template and "{K}" not in template: continue
                if kind == "URL_CREDENTIALS" and place in ("equals_tight", "argument"): continue
                if " " in value and place in ("log", "equals_tight"): continue
                put(kind, place, "plain", name, value)
            turn += 1
            if kind in CAMELS:
                put(kind, ["json", "rust", "log" if " " not in value else "json_tight"][turn % 3], "camel", CAMELS[kind], value)
            for word in words if i % 3 == 0 or len(free + named) < 8 else [words[turn % len(words)]] if words else []:
                put(kind, "colon", "word", word, value); put(kind, "sentence", "word", word, value)
            for writing, write in WRITINGS.items():
                if writing in ("underscore", "slash", "double_blank", "line_break", "quoted_line_break", "mid_dot") and kind not in EXCEPT[writing]: continue
                if " - " in value and writing in ("underscore", "line_break", "quoted_line_break", "qp_soft_break"): continue
                written = write(value)
                if written == value or kind == "URL_CREDENTIALS" and writing in ("percent", "entity_all", "markdown_escape"): continue
                if "{" in value and writing in ("qp_soft_break", "zero_width", "soft_hyphen", "wide_all"): continue
                if writing in ("zero_width", "soft_hyphen", "wide", "arabic", "devanagari", "wide_all", "entity_all", "bidi", "qp_soft_break") and (i + turn) % 3: continue
                put(kind, "colon" if needs else ["colon", "sentence", "json"][turn % 3], writing, (words or [name])[0], written)

SECRET_NAMES = ["password", "db_password", "apiKey", "API_KEY", "client_secret", "access_token", "secretKey", "auth_token", "x-api-key", "SECRET_KEY_BASE", "encryption_key", "privateKey", "webhookSecret", "db_pass", "pass", "refreshToken", "passphrase"]
PREFIXED = [("ANTHROPIC_KEY", lambda: "sk-ant-" + "api03-" + draw(93, ALNUM + "_-") + "AA"), ("ANTHROPIC_KEY", lambda: "sk-ant-" + "oat01-" + draw(93, ALNUM) + "AA"), ("ANTHROPIC_KEY", lambda: "sk-ant-" + "api03-" + (LOW + UP + DIGITS + LOW + UP)[:93] + "AA"),
    ("OPENAI_KEY", lambda: "sk-" + draw(20, ALNUM) + "T3Blbk" + "FJ" + draw(20, ALNUM)), ("OPENAI_KEY", lambda: "sk-" + "proj-" + draw(74, ALNUM) + "T3Blbk" + "FJ" + draw(74, ALNUM)),
    ("AWS_KEY", lambda: "AK" + "IA" + draw(16, UP + "234567")), ("GITHUB_TOKEN", lambda: "gh" + "p_" + draw(36, ALNUM)), ("GITHUB_TOKEN", lambda: "gh" + "o_" + (LOW + DIGITS)), ("GITHUB_TOKEN", lambda: "github" + "_pat_" + draw(22, ALNUM) + "_" + draw(59, ALNUM)),
    ("GITLAB_TOKEN", lambda: "gl" + "pat-" + draw(20, ALNUM)), ("SLACK_TOKEN", lambda: "xo" + "xb-" + draw(12) + "-" + draw(12) + "-" + draw(24, ALNUM)), ("STRIPE_KEY", lambda: "sk_" + "live_" + draw(24, ALNUM)), ("GCP_KEY", lambda: "AI" + "za" + draw(35, ALNUM)),
    ("OTHER_SECRET", lambda: "np" + "m_" + draw(36, ALNUM)), ("OTHER_SECRET", lambda: "hf" + "_" + draw(34, ALNUM)), ("OTHER_SECRET", lambda: "dop" + "_v1_" + draw(64, HEX)), ("OTHER_SECRET", lambda: "SG" + "." + draw(22, ALNUM) + "." + draw(43, ALNUM)), ("OTHER_SECRET", lambda: "shp" + "at_" + draw(32, HEX)),
    ("STRIPE_KEY", lambda: "sk_" + "test_" + (DIGITS + LOW)[:24]), ("OTHER_SECRET", lambda: "gs" + "k_" + draw(52, ALNUM))]
def strong(): return draw(4, UP) + draw(10, LOW + DIGITS) + draw(3) + draw(7, ALNUM) + r.choice(DIGITS) + r.choice(UP)
def human(): return r.choice(["Winter", "Sommer", "Tiger", "Garten", "Kaffee"]) + draw(2) + r.choice(["Tree", "haus", "Blau", "Rosa"]) + r.choice("!#%?+")
SECRET_PLACES = ["colon", "json", "json_tight", "json_in_json", "yaml", "yaml_quoted", "ini", "ini_blanks", "shell", "argument", "argument_blank", "rust", "go", "php", "xml", "attribute", "log", "logfmt", "equals_tight", "next_line", "table", "markdown"]
ASSIGNMENTS = {"dotnet": "\"{k}\": @\"{v}\"", "ruby": ":{k} => '{v}'", "docker": "ENV {K} {v}", "env_windows": "set {K}={v}", "powershell": "$env:{K} = \"{v}\"", "kotlin": "val {k}: String = \"{v}\"", "java": "private static final String {K} = \"{v}\";", "swift": "let {k}: String? = \"{v}\"", "ts": "const {k}: string = `{v}`;", "python_call": "connect(user='a', {k}='{v}')", "getenv": "os.environ[\"{K}\"] = \"{v}\"", "toml_table": "{k} = '''{v}'''", "hcl": "{k}   = \"{v}\"", "header": "X-{k}: {v}", "connection": "Server=db;User Id=sa;{k}={v};Encrypt=yes", "bash_default": "{K}=${{{K}:-{v}}}", "sed": "s/{k}=.*/{k}={v}/", "properties": "app.{k}={v}", "c_define": "#define {K} \"{v}\"", "cli_short": "--{k} {v}"}
PLACES.update(ASSIGNMENTS)

def secrets():
    for i, (kind, make) in enumerate(PREFIXED):
        for place in ["bare", "end", "json", "json_in_json", "yaml", "csv", "shell", "markdown", "code", "after_newline_escape", "quote", "brackets", "smart_quotes", "equals_tight", "tab_escape"]:
            put(kind, place, "plain", "value", make())
        for writing in ["zero_width", "bidi", "qp_soft_break", "json_escape", "entity", "wide_all"]:
            written = WRITINGS[writing](make())
            put(kind, "colon", writing, "value", written)
    for i, name in enumerate(SECRET_NAMES):
        for place in SECRET_PLACES + list(ASSIGNMENTS):
            is_password = "pass" in name
            put("GENERIC_SECRET", place, "plain", name, human() if is_password and place not in ("table", "xml", "docker", "cli_short", "argument_blank", "markdown", "sed", "bash_default") and i % 2 else strong())
    for word in WORDS["PASSWORD"]:
        for place in ["colon", "json", "ini_blanks", "sentence"]:
            put("GENERIC_SECRET", place, "word", word, human())
        put("GENERIC_SECRET", "colon", "word", word, "\u201c" + human() + "\u201d")
    for word in ["API-Schlüssel", "Zugangstoken", "clé API", "jeton d'accès", "clave API", "chiave API", "API-sleutel", "chave de API", "Geheimnis", "secreto", "segredo", "segreto"]:
        put("GENERIC_SECRET", "colon", "word", word, strong()); put("GENERIC_SECRET", "ini_blanks", "word", word, strong())

# Of the right look, and not the thing.
NEGATIVES = """version 10.20.30.40 is out|release 2.4.1.7 of the driver|Build 4.8.15.1 (2023-04-12)|ISBN 978-3-16-148410-0|ISSN 2049-3630|see RFC 2046, section 5.1.1|commit 3f8a1c94e07b5d263f8a1c94e07b5d263f8a1c94
sha256:8f4a1b0c9d3e7f6a5b2c1d0e9f8a7b6c5d4e3f2a1b0c9d8e7f6a5b4c3d2e1f0a|request 0192f1c4-7a3b-7c11-9d55-3a1f0be2c7d4 failed|size=123904567 bytes|read 482913557 bytes in 3.2 s|offset 104857600, length 4096|Content-Length: 348291735
at 2024-03-15T14:30:00.123456Z|2024-03-15 14:30:00,123 INFO started|epoch 1700000000|ts=1712345678901|"created": 1712345678|expires_at: 1893456000|timestamp 1633024800000|Sun, 06 Nov 1994 08:49:37 GMT
pages 123-456 and 457-501|CAS 7732-18-5|lat 48.8583701, lon 2.2944813|52.5200066, 13.404954|$1,234,567.89|1.234.567,89 EUR|1 234 567 890 inhabitants|4 294 967 295|let n = 1_000_000_007;|const MAX: u64 = 18_446_744_073_709_551_615;|0xDEADBEEF and 0x1234_5678
invoice 2024-000123|order no. 20240012345|ticket #48291|PR #1234567|issue 123456|SKU 12-3456-78|part no. AB-1234-CD|flight LH 1234|room 12.34.567|section 1.2.3.4 of the manual|std::collections::HashMap|a::b::c|x[::2]|::before|12:34:56|port 80:443|10:30-11:45|1:2:3
icon@2x.png|git@github.com:a/b.git|@media (min-width: 100px)|user@localhost|foo@bar|npm i left-pad@1.3.0|package@^2.0.1|decorator @property.setter|$@ and $*|a @ b . c|XXX-XX-XXXX|###-##-####|000-00-0000|0000 0000 0000 0000|xxxx-xxxx-xxxx-1234
4111 1111 1111 1112|4539 1488 0343 6468|GB82 WEST 1234 5698 7654 33|DE89 3704 0044 0532 0130 01|666-12-3456|000-12-3456|123-00-4567|078-05-1120|MORGA753116|AB 12 34 56 E|BG 12 34 56 A|2001:db8:::1|256.1.2.3|1.2.3|00:1A:2B:3C:4D|GG:1A:2B:3C:4D:5E
born in Berlin|birthday party at 12|1984 was a year|date of birth unknown|passport control is closed|the driver crashed at line 1234|license: MIT|License 2.0|a phone call|phone: none|telephone exchange|card games 2024|bank holiday 25|account closed
password: ********|password: changeme|password=<password>|PASSWORD=${DB_PASSWORD}|api_key: "YOUR_API_KEY"|token: $TOKEN|secret: {{ vault_secret }}|token = get_token()|password = input("Password: ")|if password == "":|Passwort vergessen?|mot de passe oublié|contraseña incorrecta
the key is under the mat|primary_key = "id"|public_key = load(path)|keyboard: qwertz|tokens: 4096|max_tokens = 1024|token_count: 12345678|sk-ant-api03-xxxx|sk-...|AKIAIOSFODNN7EXAMPLE|ghp_xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx|Bearer <token>|Authorization: Bearer $TOKEN
https://user:password@host/|postgres://user:pass@localhost/db|http://example.com:8080/path|mailto:|tel:|https://example.com/a?x=40&y=2D|for i in range(1000000000):|1e10|3.141592653589793|2.718281828459045|0.30000000000000004|1/3/5 rule|24/7/365|5-4-3-2-1|1-2-3-4
a=1\\nb=2|C:\\new\\table\\users|x =\\n  4|AT&T &amp; co.|R&D 100% of 20%|50%20more|width=40px; height=2Dpx|1990\u20132000|pages 12\u201345|3 \u2212 2 = 1|\u201cquoted\u201d|it\u2019s 5 o\u2019clock|\uff11\uff12\uff13|caf\u00e9 12|\u4e2d\u6587 2024 \u5e74|10 000 000|12 345 678 km"""
def negatives():
    for text in NEGATIVES.replace("\\n", "\0").replace("\n", "|").replace("\0", "\\n").split("|"):
        for place in ["bare", "colon", "sentence", "code"]:
            row("NONE", place, "plain", PLACES[place].format(k="note", v=text))

def cases():
    """All of them, each {"id", "kind", "text", "spans"}."""
    if not rows: personal(); secrets(); negatives()
    return rows

if __name__ == "__main__":
    for one in cases(): print(json.dumps(one, ensure_ascii=False, sort_keys=True))
