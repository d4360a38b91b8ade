//! One revocation, and the two ways in which it is written: in the JSON file, and as the member of a set.

use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, Visitor};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// One revocation. An issuer goes by its configured name; `None` is every issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// The token with this `jti`.
    TokenId {
        /// Whose token.
        issuer: Option<String>,
        /// The `jti`.
        id: String,
    },
    /// All tokens of a subject.
    Subject {
        /// Whose tokens.
        issuer: Option<String>,
        /// The `sub`.
        subject: String,
    },
    /// All tokens that were issued before a moment.
    IssuedBefore {
        /// Whose tokens.
        issuer: Option<String>,
        /// Of this subject alone; `None` is every subject.
        subject: Option<String>,
        /// `iat` must not be below it.
        before: SystemTime,
    },
}

impl Entry {
    /// Reads the JSON document of the file.
    ///
    /// # Errors
    /// What is wrong, with its line and column.
    pub fn parse_document(json: &[u8]) -> Result<Vec<Self>, serde_json::Error> {
        let Document { token_ids, subjects, issued_before } = serde_json::from_slice::<Object<_>>(json)?.0;
        let token_ids = token_ids.into_iter().map(|OrBare(token)| token.into());
        let subjects = subjects.into_iter().map(|OrBare(subject)| subject.into());
        Ok(token_ids.chain(subjects).chain(issued_before.into_iter().map(|Object(entry)| entry.into())).collect())
    }

    /// Reads the member of a set:
    ///
    /// - `token_id ID` or `token_id@ISSUER ID`
    /// - `subject SUBJECT` or `subject@ISSUER SUBJECT`
    /// - `issued_before SECONDS` or `issued_before@ISSUER SECONDS`, in seconds since 1970, either with ` SUBJECT` behind
    ///
    /// One space stands between the parts. An id or a subject goes to the end, spaces included; an issuer's name ends at the
    /// first space. `None` for anything else.
    pub fn parse_member(member: &str) -> Option<Self> {
        let (kind, rest) = member.split_once(' ').filter(|(_, rest)| !rest.is_empty())?;
        let (kind, issuer) = match kind.split_once('@') {
            Some((_, "")) => return None,
            Some((kind, issuer)) => (kind, Some(issuer.to_owned())),
            None => (kind, None),
        };
        match kind {
            "token_id" => Some(Self::TokenId { issuer, id: rest.to_owned() }),
            "subject" => Some(Self::Subject { issuer, subject: rest.to_owned() }),
            "issued_before" => {
                let (seconds, subject) = match rest.split_once(' ') {
                    Some((_, "")) => return None,
                    Some((seconds, subject)) => (seconds, Some(subject.to_owned())),
                    None => (rest, None),
                };
                Some(Self::IssuedBefore { issuer, subject, before: moment(seconds.parse().ok()?)? })
            }
            _ => None,
        }
    }
}

/// The file's shape. A key that stands there twice is an error, for one of the two would be lost.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    #[serde(default, alias = "jti", alias = "jtis")]
    token_ids: Vec<OrBare<TokenId>>,
    #[serde(default)]
    subjects: Vec<OrBare<Subject>>,
    #[serde(default)]
    issued_before: Vec<Object<IssuedBefore>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenId {
    issuer: Option<Text>,
    id: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    issuer: Option<Text>,
    subject: Text,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct IssuedBefore {
    issuer: Option<Text>,
    subject: Option<Text>,
    before: Moment,
}

impl From<Text> for TokenId {
    fn from(id: Text) -> Self {
        Self { issuer: None, id }
    }
}

impl From<Text> for Subject {
    fn from(subject: Text) -> Self {
        Self { issuer: None, subject }
    }
}

impl From<TokenId> for Entry {
    fn from(token: TokenId) -> Self {
        Self::TokenId { issuer: token.issuer.map(|Text(issuer)| issuer), id: token.id.0 }
    }
}

impl From<Subject> for Entry {
    fn from(subject: Subject) -> Self {
        Self::Subject { issuer: subject.issuer.map(|Text(issuer)| issuer), subject: subject.subject.0 }
    }
}

impl From<IssuedBefore> for Entry {
    fn from(entry: IssuedBefore) -> Self {
        Self::IssuedBefore {
            issuer: entry.issuer.map(|Text(issuer)| issuer),
            subject: entry.subject.map(|Text(subject)| subject),
            before: entry.before.0,
        }
    }
}

/// A text that is not empty: an empty one is a mistake of whoever wrote the file, and would revoke nothing.
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Text(String);

impl TryFrom<String> for Text {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.is_empty() { Err("an empty text names nothing") } else { Ok(Self(text)) }
    }
}

/// An object by its keys alone: serde takes a list in its place, by position.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Keyed<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keyed<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Keyed(PhantomData)).map(Self)
    }
}

/// An object, or one text in its place.
struct OrBare<T>(T);

impl<'de, T: Deserialize<'de> + From<Text>> Deserialize<'de> for OrBare<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de> + From<Text>> Visitor<'de> for Either<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text or an object")
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
                Text::try_from(text.to_owned()).map(T::from).map_err(E::custom)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_any(Either(PhantomData)).map(Self)
    }
}

/// A moment: seconds since 1970, or RFC 3339.
struct Moment(SystemTime);

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;

        impl Visitor<'_> for Either {
            type Value = Moment;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("seconds since 1970 or a time such as \"2026-11-24T00:00:00Z\"")
            }

            fn visit_u64<E: Error>(self, seconds: u64) -> Result<Moment, E> {
                moment(seconds).map(Moment).ok_or_else(|| E::custom("is no sane time"))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Moment, E> {
                let time = OffsetDateTime::parse(text, &Rfc3339).ok().filter(|time| time.unix_timestamp() >= 0);
                time.map(|time| Moment(time.into())).ok_or_else(|| E::custom("is no time such as 2026-11-24T00:00:00Z"))
            }
        }

        deserializer.deserialize_any(Either)
    }
}

/// A moment from 1970 to the year 9999.
fn moment(seconds: u64) -> Option<SystemTime> {
    (seconds <= 253_402_300_799).then(|| UNIX_EPOCH + Duration::from_secs(seconds))
}
