//! The verbs that requests carry as strings.
//!
//! An unknown verb survives decoding (`Other`), so that the endpoint can refuse it by name
//! instead of the codec refusing the whole message.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! verbs {
    ($($(#[$doc:meta])* $name:ident { $first:ident = $first_text:literal $(, $variant:ident = $text:literal)* $(,)? })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
        pub enum $name {
            #[default]
            $first,
            $($variant,)*
            /// A verb that this version does not know, kept for the error message.
            Other(String),
        }

        impl $name {
            /// The verb's text on the wire.
            pub fn as_str(&self) -> &str {
                match self {
                    Self::$first => $first_text,
                    $(Self::$variant => $text,)*
                    Self::Other(text) => text,
                }
            }
        }

        impl From<&str> for $name {
            fn from(text: &str) -> Self {
                match text {
                    $first_text => Self::$first,
                    $($text => Self::$variant,)*
                    other => Self::Other(other.to_owned()),
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                Ok(Self::from(&*String::deserialize(deserializer)?))
            }
        }
    )*};
}

verbs! {
    /// What a KV command or the KV part of a transaction does.
    KvVerb {
        Unset = "",
        Set = "set",
        Delete = "delete",
        DeleteCas = "delete-cas",
        DeleteTree = "delete-tree",
        Cas = "cas",
        Lock = "lock",
        Unlock = "unlock",
        Get = "get",
        GetTree = "get-tree",
        CheckSession = "check-session",
        CheckIndex = "check-index",
        CheckNotExists = "check-not-exists",
    }
    /// What the node part of a transaction does.
    NodeVerb {
        Unset = "", Get = "get", Set = "set", Cas = "cas", Delete = "delete", DeleteCas = "delete-cas",
    }
    /// What the service part of a transaction does.
    ServiceVerb {
        Unset = "", Get = "get", Set = "set", Cas = "cas", Delete = "delete", DeleteCas = "delete-cas",
    }
    /// What the check part of a transaction does.
    CheckVerb {
        Unset = "", Get = "get", Set = "set", Cas = "cas", Delete = "delete", DeleteCas = "delete-cas",
    }
    /// What the session part of a transaction does.
    SessionVerb { Unset = "", Delete = "delete" }
    /// What a session command does.
    SessionOp { Unset = "", Create = "create", Destroy = "destroy" }
    /// What happens to the locks of a session that ends.
    SessionBehavior { Unset = "", Release = "release", Delete = "delete" }
    /// What a prepared query command does.
    PreparedQueryOp { Unset = "", Create = "create", Update = "update", Delete = "delete" }
    /// An operation on the gossip keyrings.
    KeyringOp { Unset = "", List = "list", Install = "install", Use = "use", Remove = "remove" }
    /// What a tombstone command does.
    TombstoneOp { Unset = "", Reap = "reap" }
}
