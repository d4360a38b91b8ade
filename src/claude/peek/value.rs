//! The values that policy reads, each with what it may be.

use std::borrow::Cow;
use std::fmt;

use serde::de::{
    self, Deserialize, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde_json::value::RawValue;

use super::ask::Reader;
use super::object::{Level, Object};
use crate::claude::model::Model;

/// The type error of serde would quote the value; our own errors from deeper inside pass as they are.
pub(super) fn wrong<E: de::Error>(key: &str, what: &str, error: E) -> E {
    let text = error.to_string();
    if text.starts_with("invalid type") || text.starts_with("invalid value") || text.starts_with("invalid number") {
        return E::custom(format_args!("{key}: {what}"));
    }
    error
}

/// Text with its escapes resolved, borrowed from the body when it has none.
pub(in crate::claude) struct Text<'de>(pub(in crate::claude) Cow<'de, str>);

impl<'de> de::Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("text")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Text<'de>, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

/// A list of objects of a level.
pub(super) struct List<'p> {
    pub(super) level: Level,
    pub(super) reader: &'p mut Reader,
}

impl<'de> DeserializeSeed<'de> for List<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { level, reader } = self;
        while let Some(()) = seq.next_element_seed(Object { level, reader: &mut *reader })? {}
        Ok(())
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<(), E> {
        if self.level == Level::Fallback {
            return Err(E::custom("fallbacks: must name its models; \"default\" would leave the choice to the API"));
        }
        Err(E::invalid_type(Unexpected::Other("text"), &self))
    }

    /// The API's optional lists may be null.
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        if self.level == Level::BatchItem {
            return Err(E::custom("requests: must be a list"));
        }
        Ok(())
    }
}

/// Any value: objects in it, alone or in lists, are read at a level, all else is passed over.
pub(super) struct Any<'p> {
    pub(super) level: Level,
    pub(super) reader: &'p mut Reader,
}

impl<'de> DeserializeSeed<'de> for Any<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object { level: self.level, reader: self.reader }.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { level, reader } = self;
        while let Some(()) = seq.next_element_seed(Any { level, reader: &mut *reader })? {}
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }
}

/// An object, or null.
pub(super) struct Optional<'p>(pub(super) Object<'p>);

impl<'de> DeserializeSeed<'de> for Optional<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for Optional<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object or null")
    }

    fn visit_none<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        self.0.deserialize(deserializer)
    }
}

/// The MCP servers of a message, of which each has its name noted, and whether there are any; null is an empty list.
pub(super) struct McpServers<'p>(pub(super) &'p mut Reader);

impl<'de> DeserializeSeed<'de> for McpServers<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for McpServers<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(()) = seq.next_element_seed(Any { level: Level::McpServer, reader: &mut *self.0 })? {
            found = true;
        }
        Ok(found)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// Text, or none where there is another value, which is for the API to refuse.
pub(super) struct Lenient;

impl<'de> DeserializeSeed<'de> for Lenient {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let json = <&RawValue>::deserialize(deserializer)?;
        Ok(serde_json::from_str(json.get()).ok().map(|Text(text)| text))
    }
}

/// Whether a list has elements; null is an empty one.
pub(super) struct NonEmpty;

impl<'de> DeserializeSeed<'de> for NonEmpty {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NonEmpty {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        let mut found = false;
        while let Some(IgnoredAny) = seq.next_element()? {
            found = true;
        }
        Ok(found)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

/// A model of a resource: its name, or an object that has it as `id`.
pub(super) struct ResourceModel<'p>(pub(super) &'p mut Reader);

impl<'de> DeserializeSeed<'de> for ResourceModel<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ResourceModel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a model's name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<(), E> {
        let model = Model::parse(name).ok_or_else(|| E::custom("model: is not spelled like a model's name"))?;
        self.0.name(model).map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        Object { level: Level::ModelObject, reader: self.0 }.visit_map(map)
    }
}
