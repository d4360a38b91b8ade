//! What can be found.

use std::fmt;

/// A kind of personal data or of secret, by the name that tags, records, metrics and the configuration use.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Kind(&'static str);

macro_rules! kinds {
    ($list:ident, $doc:literal: $($name:ident $text:literal,)*) => {
        #[allow(missing_docs, reason = "the name says it; docs/privacy.md tells how each is found")]
        impl Kind {
            $(pub const $name: Self = Self($text);)*
        }
        impl Kind {
            #[doc = $doc]
            pub const $list: &[Self] = &[$(Self::$name,)*];
        }
    };
}

kinds! { PERSONAL, "Data of people, in the order of docs/privacy.md.":
    EMAIL "EMAIL",
    PHONE_NUMBER "PHONE_NUMBER",
    CREDIT_CARD "CREDIT_CARD",
    IBAN "IBAN",
    ABA_ROUTING_NUMBER "ABA_ROUTING_NUMBER",
    US_BANK_NUMBER "US_BANK_NUMBER",
    US_SSN "US_SSN",
    US_ITIN "US_ITIN",
    US_PASSPORT "US_PASSPORT",
    US_DRIVER_LICENSE "US_DRIVER_LICENSE",
    US_NPI "US_NPI",
    US_MBI "US_MBI",
    MEDICAL_LICENSE "MEDICAL_LICENSE",
    MEDICAL_RECORD_NUMBER "MEDICAL_RECORD_NUMBER",
    UK_NHS "UK_NHS",
    UK_NINO "UK_NINO",
    UK_PASSPORT "UK_PASSPORT",
    UK_DRIVING_LICENCE "UK_DRIVING_LICENCE",
    IP_ADDRESS "IP_ADDRESS",
    MAC_ADDRESS "MAC_ADDRESS",
    DATE_OF_BIRTH "DATE_OF_BIRTH",
    CRYPTO "CRYPTO",
    URL_CREDENTIALS "URL_CREDENTIALS",
    PASSPORT "PASSPORT",
    NATIONAL_ID "NATIONAL_ID",
    TAX_NUMBER "TAX_NUMBER",
    AU_ABN "AU_ABN",
    AU_ACN "AU_ACN",
    AU_MEDICARE "AU_MEDICARE",
    AU_TFN "AU_TFN",
    CA_SIN "CA_SIN",
    DE_FUEHRERSCHEIN "DE_FUEHRERSCHEIN",
    DE_HEALTH_INSURANCE "DE_HEALTH_INSURANCE",
    DE_ID_CARD "DE_ID_CARD",
    DE_SOCIAL_SECURITY "DE_SOCIAL_SECURITY",
    DE_TAX_ID "DE_TAX_ID",
    DE_VAT_ID "DE_VAT_ID",
    ES_NIE "ES_NIE",
    ES_NIF "ES_NIF",
    FI_PERSONAL_IDENTITY_CODE "FI_PERSONAL_IDENTITY_CODE",
    FR_SOCIAL_SECURITY "FR_SOCIAL_SECURITY",
    IN_AADHAAR "IN_AADHAAR",
    IN_GSTIN "IN_GSTIN",
    IN_PAN "IN_PAN",
    IT_DRIVER_LICENSE "IT_DRIVER_LICENSE",
    IT_FISCAL_CODE "IT_FISCAL_CODE",
    IT_VAT_CODE "IT_VAT_CODE",
    KR_BRN "KR_BRN",
    KR_DRIVER_LICENSE "KR_DRIVER_LICENSE",
    KR_FRN "KR_FRN",
    KR_RRN "KR_RRN",
    NG_NIN "NG_NIN",
    PL_PESEL "PL_PESEL",
    SE_ORGANISATIONSNUMMER "SE_ORGANISATIONSNUMMER",
    SE_PERSONNUMMER "SE_PERSONNUMMER",
    SG_NRIC_FIN "SG_NRIC_FIN",
    TH_TNIN "TH_TNIN",
    TR_NATIONAL_ID "TR_NATIONAL_ID",
    ZA_ID_NUMBER "ZA_ID_NUMBER",
}

kinds! { SECRETS, "What opens something; the configuration's name for all of them is `secrets`.":
    ANTHROPIC_KEY "ANTHROPIC_KEY",
    OPENAI_KEY "OPENAI_KEY",
    AWS_KEY "AWS_KEY",
    GITHUB_TOKEN "GITHUB_TOKEN",
    GITLAB_TOKEN "GITLAB_TOKEN",
    SLACK_TOKEN "SLACK_TOKEN",
    STRIPE_KEY "STRIPE_KEY",
    GCP_KEY "GCP_KEY",
    AZURE_SECRET "AZURE_SECRET",
    PRIVATE_KEY "PRIVATE_KEY",
    JWT "JWT",
    CURL_AUTH "CURL_AUTH",
    K8S_SECRET "K8S_SECRET",
    GENERIC_SECRET "GENERIC_SECRET",
    OTHER_SECRET "OTHER_SECRET",
}

impl Kind {
    /// The built-in kind of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::all().find(|kind| kind.0 == name)
    }

    /// Every built-in kind.
    pub fn all() -> impl Iterator<Item = Self> {
        Self::PERSONAL.iter().chain(Self::SECRETS).copied()
    }

    /// A kind of the configuration's own; `name` lives as long as the process, for metrics name it.
    pub(super) const fn custom(name: &'static str) -> Self {
        Self(name)
    }

    /// Whether it opens something.
    pub fn is_secret(self) -> bool {
        Self::SECRETS.contains(&self)
    }

    /// The name, in upper case with underscores.
    pub const fn name(self) -> &'static str {
        self.0
    }
}

impl fmt::Debug for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}
