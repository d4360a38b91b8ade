//! The examples of the standards: RFC 7515 appendix A, RFC 8037 appendix A and RFC 7520 section 4.

use super::super::header::Header;
use super::super::keys::SharedKey;
use super::*;

/// A signed text whose payload need not be claims.
struct Example {
    name: &'static str,
    jwk: &'static str,
    signed: &'static str,
    signature: &'static str,
}

const RFC7520_TEXT: &str = "SXTigJlzIGEgZGFuZ2Vyb3VzIGJ1c2luZXNzLCBGcm9kbywgZ29pbmcgb3V0IHlvdXIgZG9vci4gWW91IHN0ZXAgb250byB0aGUgcm9hZCwgYW5kIGlmIHlvdSBkb24ndCBrZWVwIHlvdXIgZmVldCwgdGhlcmXigJlzIG5vIGtub3dpbmcgd2hlcmUgeW91IG1pZ2h0IGJlIHN3ZXB0IG9mZiB0by4";

const EXAMPLES: [Example; 6] = [
    Example {
        name: "RFC 7515 A.2, RS256",
        jwk: r#"{"kty":"RSA","e":"AQAB","n":"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qPCJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_7OMg0LOL-bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9kG4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ"}"#,
        signed: "eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        signature: "cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_O8W2Fp5jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QOYEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
    },
    Example {
        name: "RFC 7515 A.3, ES256",
        jwk: r#"{"kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#,
        signed: "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
        signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
    },
    Example {
        name: "RFC 7515 A.4, ES512",
        jwk: r#"{"kty":"EC","crv":"P-521","x":"AekpBQ8ST8a8VcfVOTNl353vSrDCLLJXmPk06wTjxrrjcBpXp5EOnYG_NjFZ6OvLFV1jSfS9tsz4qUxcWceqwQGk","y":"ADSmRA43Z1DSNx_RvcLI87cdL07l6jQyyBXMoxVg_l2Th-x3S1WDhjDly79ajL4Kkd0AZMaZmh9ubmf63e3kyMj2"}"#,
        signed: "eyJhbGciOiJFUzUxMiJ9.UGF5bG9hZA",
        signature: "AdwMgeerwtHoh-l192l60hp9wAHZFVJbLfD_UxMi70cwnZOYaRI1bKPWROc-mZZqwqT2SI-KGDKB34XO0aw_7XdtAG8GaSwFKdCAPZgoXD2YBJZCPEX3xKpRwcdOO8KpEHwJjyqOgzDO7iKvU8vcnwNrmxYbSW9ERBXukOXolLzeO_Jn",
    },
    Example {
        name: "RFC 8037 A.4, EdDSA",
        jwk: r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#,
        signed: "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc",
        signature: "hgyY0il_MGCjP0JzlnLWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
    },
    Example {
        name: "RFC 7520 4.2, PS384",
        jwk: r#"{"kty":"RSA","kid":"bilbo.baggins@hobbiton.example","use":"sig","e":"AQAB","n":"n4EPtAOCc9AlkeQHPzHStgAbgs7bTZLwUBZdR8_KuKPEHLd4rHVTeT-O-XV2jRojdNhxJWTDvNd7nqQ0VEiZQHz_AJmSCpMaJMRBSFKrKb2wqVwGU_NsYOYL-QtiWN2lbzcEe6XC0dApr5ydQLrHqkHHig3RBordaZ6Aj-oBHqFEHYpPe7Tpe-OfVfHd1E6cS6M1FZcD1NNLYD5lFHpPI9bTwJlsde3uhGqC0ZCuEHg8lhzwOHrtIQbS0FVbb9k3-tVTU4fg_3L_vniUFAKwuCLqKnS2BYwdq_mzSnbLY7h_qixoR7jig3__kRhuaxwUkRz5iaiQkqgc5gHdrNP5zw"}"#,
        signed: "eyJhbGciOiJQUzM4NCIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.",
        signature: "cu22eBqkYDKgIlTpzDXGvaFfz6WGoz7fUDcfT0kkOy42miAh2qyBzk1xEsnk2IpN6-tPid6VrklHkqsGqDqHCdP6O8TTB5dDDItllVo6_1OLPpcbUrhiUSMxbbXUvdvWXzg-UD8biiReQFlfz28zGWVsdiNAUf8ZnyPEgVFn442ZdNqiVJRmBqrYRXe8P_ijQ7p8Vdz0TTrxUeT3lm8d9shnr2lfJT8ImUjvAA2Xez2Mlp8cBE5awDzT0qI0n6uiP1aCN_2_jLAeQTlqRHtfa64QQSUmFAAjVKPbByi7xho0uTOcbH510a6GYmJUAfmWjwZ6oD4ifKo8DYM-X72Eaw",
    },
    Example {
        name: "RFC 7520 4.3, ES512",
        jwk: r#"{"kty":"EC","kid":"bilbo.baggins@hobbiton.example","use":"sig","crv":"P-521","x":"AHKZLLOsCOzz5cY97ewNUajB957y-C-U88c3v13nmGZx6sYl_oJXu9A5RkTKqjqvjyekWF-7ytDyRXYgCF5cj0Kt","y":"AdymlHvOiLxXkEhayXQnNCvDX4h9htZaCJN34kfmC6pV5OhQHiraVySsUdaQkAgDPrwQrJmbnX9cwlGfP-HqHZR1"}"#,
        signed: "eyJhbGciOiJFUzUxMiIsImtpZCI6ImJpbGJvLmJhZ2dpbnNAaG9iYml0b24uZXhhbXBsZSJ9.",
        signature: "AE_R_YZCChjn4791jSQCrdPZCNYqHXCTZH0-JZGYNlaAjP2kqaluUIIUnC9qvbu9Plon7KRTzoNEuT4Va2cmL1eJAQy3mtPBu_u_sDDyYjnAMDxXPn7XrT0lw-kvAD890jl8e2puQens_IEKBpHABlsbEPX6sFY8OcGDqoRuBomu9xQ2",
    },
];

#[test]
fn the_standards_own_signatures_verify_and_no_altered_one_does() {
    for Example { name, jwk, signed, signature } in EXAMPLES {
        let set = KeySet::parse(format!(r#"{{"keys":[{jwk}]}}"#).as_bytes()).expect(name);
        // RFC 7520 signs one text in all its examples.
        let signed = if signed.ends_with('.') { format!("{signed}{RFC7520_TEXT}") } else { signed.to_owned() };
        let header = Header::parse(signed.split('.').next().unwrap()).expect(name);
        let key = set.fitting(header.algorithm, header.key_id.as_deref()).next().expect(name);
        let signature = BASE64_URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(key.verifies(header.algorithm, signed.as_bytes(), &signature), "{name}");
        assert!(!key.verifies(header.algorithm, format!("{signed}A").as_bytes(), &signature), "{name}");
        for at in 0..signature.len() {
            let mut altered = signature.clone();
            altered[at] ^= 1;
            assert!(!key.verifies(header.algorithm, signed.as_bytes(), &altered), "{name}, byte {at}");
        }
        for length in [0, 1, signature.len() / 2, signature.len() - 1] {
            assert!(!key.verifies(header.algorithm, signed.as_bytes(), &signature[..length]), "{name}, {length} bytes");
        }
        let longer = [signature.as_slice(), &[0]].concat();
        assert!(!key.verifies(header.algorithm, signed.as_bytes(), &longer), "{name}, a byte more");
        // CVE-2022-21449: a signature of zeros is none.
        assert!(!key.verifies(header.algorithm, signed.as_bytes(), &vec![0; signature.len()]), "{name}, zeros");
        for other in Algorithm::ALL.into_iter().filter(|other| *other != header.algorithm) {
            assert!(!key.verifies(other, signed.as_bytes(), &signature), "{name} as {other}");
        }
    }
}

#[test]
fn the_hmac_example_verifies_with_its_secret() {
    // RFC 7515 appendix A.1.
    let secret = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow";
    let signed = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ";
    let tag = BASE64_URL_SAFE_NO_PAD.decode("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk").unwrap();
    let shared = SharedKey::new(&Secret::new(BASE64_URL_SAFE_NO_PAD.decode(secret).unwrap()));
    assert!(shared.verifies(Algorithm::HS256, signed.as_bytes(), &tag));
    assert!(!shared.verifies(Algorithm::HS256, &signed.as_bytes()[1..], &tag));
}

#[test]
fn whole_tokens_verify() {
    for (kind, algorithms) in [
        (
            &rcgen::PKCS_RSA_SHA256,
            &[
                Algorithm::RS256,
                Algorithm::RS384,
                Algorithm::RS512,
                Algorithm::PS256,
                Algorithm::PS384,
                Algorithm::PS512,
            ][..],
        ),
        (&rcgen::PKCS_ECDSA_P256_SHA256, &[Algorithm::ES256]),
        (&rcgen::PKCS_ECDSA_P384_SHA384, &[Algorithm::ES384]),
    ] {
        for &algorithm in algorithms {
            let signer = Signer::new(kind, algorithm, Some("a"));
            let set = KeySet::parse(&jwks(&[&signer])).unwrap();
            let issuers = issuers(rules(&[algorithm]), KeySource::File(set));
            assert!(verify(&issuers, &signer.sign(Some("a"), &claims())).is_ok(), "{algorithm}");
        }
    }
    for algorithm in [Algorithm::HS256, Algorithm::HS384, Algorithm::HS512] {
        let header = jsonwebtoken::Header::new(algorithm.for_signing().unwrap());
        let token = jsonwebtoken::encode(&header, &claims(), &EncodingKey::from_secret(SECRET)).unwrap();
        assert!(verify(&shared_by(rules(&[algorithm])), &token).is_ok(), "{algorithm}");
    }
}

/// For keys that the library which signs the other tokens does not make.
fn verify_own(algorithm: Algorithm, jwk: &Value, sign: impl Fn(&[u8]) -> Vec<u8>) {
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let set = KeySet::parse(json!({ "keys": [jwk] }).to_string().as_bytes()).unwrap();
    let header = json!({ "alg": algorithm.name() }).to_string();
    let signed = format!("{}.{}", encode(header.as_bytes()), encode(claims().to_string().as_bytes()));
    let signature = sign(signed.as_bytes());
    let issuers = issuers(rules(&[algorithm]), KeySource::File(set));
    assert!(verify(&issuers, &format!("{signed}.{}", encode(&signature))).is_ok(), "{algorithm}");
    let altered = format!("{signed}.{}", encode(&vec![0; signature.len()]));
    assert_eq!(verify(&issuers, &altered), Err(fault(TokenFault::Signature)), "{algorithm}");
}

#[test]
fn whole_tokens_of_es512_and_eddsa_verify() {
    use aws_lc_rs::signature::{ECDSA_P521_SHA512_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair};
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let pair = EcdsaKeyPair::generate(&ECDSA_P521_SHA512_FIXED_SIGNING).unwrap();
    let (x, y) = pair.public_key().as_ref()[1..].split_at(66);
    let jwk = json!({ "kty": "EC", "crv": "P-521", "x": encode(x), "y": encode(y), "alg": "ES512" });
    let random = aws_lc_rs::rand::SystemRandom::new();
    verify_own(Algorithm::ES512, &jwk, |message| pair.sign(&random, message).unwrap().as_ref().to_vec());

    let pair = Ed25519KeyPair::generate().unwrap();
    let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(pair.public_key().as_ref()) });
    verify_own(Algorithm::EdDSA, &jwk, |message| pair.sign(message).as_ref().to_vec());
}
