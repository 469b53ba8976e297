//! What to follow.

use serde_json::{Map, Value};

use crate::handler::HandlerSpec;
use crate::params::Params;

/// The view that is followed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// One key; the entry, or `null` while there is none.
    Key {
        /// Its name.
        key: String,
    },
    /// All keys with a prefix; the entries, or `null`.
    KeyPrefix {
        /// The prefix.
        prefix: String,
    },
    /// All service names with their tags.
    Services,
    /// All nodes.
    Nodes,
    /// The instances of one service with their checks.
    Service {
        /// Its name.
        service: String,
        /// Instances must have all of these tags.
        tags: Vec<String>,
        /// Only instances whose checks all pass.
        passing_only: bool,
    },
    /// Checks of one service, or all in one state, or all.
    Checks {
        /// Of this service.
        service: Option<String>,
        /// In this state.
        state: Option<String>,
    },
    /// User events.
    Event {
        /// Only of this name.
        name: Option<String>,
    },
}

/// One watch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// What to follow.
    pub kind: Kind,
    /// In which datacenter; `None` is the agent's own.
    pub datacenter: Option<String>,
    /// With which ACL token; `None` is the source's default.
    pub token: Option<String>,
    /// Accept answers of servers that do not lead.
    pub stale: bool,
    /// What to do with changes, where the parameters say it.
    pub handler: Option<HandlerSpec>,
}

/// Why parameters are no watch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// No `type`.
    #[error("Watch type must be specified")]
    NoType,
    /// An unknown `type`.
    #[error("Unsupported watch type: {0}")]
    UnknownType(String),
    /// A key watch without its key.
    #[error("Must specify a single key to watch")]
    NoKey,
    /// A prefix watch without its prefix.
    #[error("Must specify a single prefix to watch")]
    NoPrefix,
    /// A service watch without its service.
    #[error("Must specify a single service to watch")]
    NoService,
    /// A checks watch with both restrictions.
    #[error("Cannot specify service and state")]
    ServiceAndState,
    /// A parameter of another type.
    #[error("Invalid value for {0}: expecting {1}")]
    Type(&'static str, &'static str),
    /// Parameters this type of watch does not have.
    #[error("Invalid parameters: [{}]", .0.join(" "))]
    Unknown(Vec<String>),
    /// More than one handler.
    #[error("Only one watch handler allowed")]
    ManyHandlers,
    /// A `handler_type` that does not exist, or does not fit its settings.
    #[error("{0}")]
    Handler(String),
}

impl Plan {
    /// Reads a watch from its parameters, as they stand in a configuration (`type`, `key`,
    /// `args`, …). Every parameter must be understood.
    ///
    /// # Errors
    /// Missing, unknown, contradictory or ill-typed parameters.
    pub fn parse(params: Map<String, Value>) -> Result<Self, PlanError> {
        let mut params = Params(params);
        let datacenter = params.text("datacenter")?.filter(|dc| !dc.is_empty());
        let token = params.text("token")?.filter(|token| !token.is_empty());
        let stale = params.flag("stale")?.unwrap_or(false);
        let type_name = params.text("type")?.filter(|t| !t.is_empty()).ok_or(PlanError::NoType)?;
        let handler = HandlerSpec::take(&mut params)?;
        let kind = Kind::take(&type_name, &mut params)?;
        if !params.0.is_empty() {
            let mut unknown: Vec<String> = params.0.into_iter().map(|(name, _)| name).collect();
            unknown.sort();
            return Err(PlanError::Unknown(unknown));
        }
        Ok(Self { kind, datacenter, token, stale, handler })
    }
}

impl Kind {
    fn take(type_name: &str, params: &mut Params) -> Result<Self, PlanError> {
        let filled = |text: Option<String>| text.filter(|t| !t.is_empty());
        Ok(match type_name {
            "key" => Self::Key { key: filled(params.text("key")?).ok_or(PlanError::NoKey)? },
            "keyprefix" => {
                Self::KeyPrefix { prefix: filled(params.text("prefix")?).ok_or(PlanError::NoPrefix)? }
            }
            "services" => Self::Services,
            "nodes" => Self::Nodes,
            "service" => Self::Service {
                service: filled(params.text("service")?).ok_or(PlanError::NoService)?,
                tags: params.list("tag")?,
                passing_only: params.flag("passingonly")?.unwrap_or(false),
            },
            "checks" => {
                let service = filled(params.text("service")?);
                let state = filled(params.text("state")?);
                if service.is_some() && state.is_some() {
                    return Err(PlanError::ServiceAndState);
                }
                Self::Checks { service, state }
            }
            "event" => Self::Event { name: filled(params.text("name")?) },
            other => return Err(PlanError::UnknownType(other.to_owned())),
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parse(params: Value) -> Result<Plan, PlanError> {
        match params {
            Value::Object(map) => Plan::parse(map),
            _ => panic!("not an object"),
        }
    }

    #[test]
    fn every_type() {
        let kind = |params| parse(params).unwrap().kind;
        assert_eq!(kind(json!({"type": "key", "key": "a"})), Kind::Key { key: "a".into() });
        assert_eq!(kind(json!({"type": "services"})), Kind::Services);
        assert_eq!(
            kind(json!({"type": "service", "service": "w", "tag": ["a", "b"], "passingonly": "true"})),
            Kind::Service { service: "w".into(), tags: vec!["a".into(), "b".into()], passing_only: true }
        );
        assert_eq!(
            kind(json!({"type": "checks", "state": "critical"})),
            Kind::Checks { service: None, state: Some("critical".into()) }
        );
        assert_eq!(kind(json!({"type": "event"})), Kind::Event { name: None });
        let plan = parse(json!({"type": "nodes", "datacenter": "dc2", "stale": true, "token": ""}));
        assert_eq!(
            plan.unwrap(),
            Plan {
                kind: Kind::Nodes,
                datacenter: Some("dc2".into()),
                token: None,
                stale: true,
                handler: None
            }
        );
    }

    #[test]
    fn what_is_wrong_is_named() {
        let error = |params| parse(params).unwrap_err().to_string();
        assert_eq!(error(json!({})), "Watch type must be specified");
        assert_eq!(error(json!({"type": "bogus"})), "Unsupported watch type: bogus");
        assert_eq!(error(json!({"type": "key"})), "Must specify a single key to watch");
        assert_eq!(
            error(json!({"type": "key", "key": "a", "zz": 1, "prefix": "x"})),
            "Invalid parameters: [prefix zz]"
        );
        assert_eq!(
            error(json!({"type": "checks", "service": "w", "state": "any"})),
            "Cannot specify service and state"
        );
        assert_eq!(error(json!({"type": "key", "key": 5})), "Invalid value for key: expecting a string");
    }
}
