//! `/v1/event`.

use std::sync::Arc;
use std::time::Duration;

use model::event::FireEvent;
use model::internal::EventFireRequest;
use model::methods::InternalEventFire;
use model::options::{QueryMeta, QueryOptions};
use uuid::Uuid;

use crate::api::error::ApiError;
use crate::api::types::UserEvent;
use crate::face::Face;
use crate::face::call::Call;
use crate::face::options;
use crate::face::reply::Reply;
use crate::face::route::Answer;

/// The version of the event format.
const EVENT_VERSION: u32 = 1;

/// `PUT /v1/event/fire/<name>`: the body is the payload.
pub fn fire(face: &Face, mut call: Call) -> Answer<'_> {
    Box::pin(async move {
        let name = call.rest().to_owned();
        if name.is_empty() {
            return Err(ApiError::bad_request("Missing name"));
        }
        let parameter = |name: &str| call.params.get(name).to_owned();
        let mut event = UserEvent {
            id: Uuid::new_v4().to_string(),
            name,
            node_filter: parameter("node"),
            service_filter: parameter("service"),
            tag_filter: parameter("tag"),
            version: EVENT_VERSION,
            ..UserEvent::default()
        };
        check_filters(&event)?;
        event.payload = call.take_body().await?.to_vec().into();
        let payload = FireEvent::from(&event)
            .encode()
            .map_err(|error| ApiError::internal(format!("cannot encode the event: {error}")))?;
        let args = EventFireRequest {
            datacenter: options::datacenter(face, &call),
            name: event.name.clone(),
            payload: payload.into(),
            options: QueryOptions {
                token: options::token(face, &call),
                // Any server can gossip an event, leader or not.
                allow_stale: true,
                ..QueryOptions::default()
            },
        };
        face.road.call::<InternalEventFire>(args).await?;
        Ok(Reply::serde(&event))
    })
}

fn check_filters(event: &UserEvent) -> Result<(), ApiError> {
    if !event.tag_filter.is_empty() && event.service_filter.is_empty() {
        return Err(ApiError::internal("Cannot provide tag filter without service filter"));
    }
    for (what, filter) in
        [("node", &event.node_filter), ("service", &event.service_filter), ("tag", &event.tag_filter)]
    {
        if let Err(reason) = filter::regexp::compile(filter) {
            return Err(ApiError::internal(format!("Invalid {what} filter: {reason}")));
        }
    }
    Ok(())
}

/// The index of a list of events: of its newest one.
fn index_of(events: &[Arc<UserEvent>]) -> u64 {
    let Some(id) = events.last().and_then(|event| Uuid::parse_str(&event.id).ok()) else { return 1 };
    let (high, low) = id.as_u64_pair();
    (high ^ low).max(1)
}

/// `GET /v1/event/list`: the newest events received here, oldest first. Blocks while the index of
/// the newest one is the caller's.
pub fn list(face: &Face, call: Call) -> Answer<'_> {
    Box::pin(async move {
        let mut query = QueryOptions::default();
        options::wait(&call, &mut query)?;
        let token = options::token(face, &call);
        let deadline = tokio::time::Instant::now() + wait_of(&call, &query);
        let mut changes = face.agent.event_changes();
        loop {
            changes.borrow_and_update();
            let mut events = face.agent.events(&token).await?;
            let name = call.params.get("name");
            if !name.is_empty() {
                events.retain(|event| event.name == name);
            }
            let index = index_of(&events);
            let blocked = query.min_query_index > 0 && query.min_query_index == index;
            if !blocked || !changed_by(&mut changes, deadline).await {
                let meta = QueryMeta { index, ..QueryMeta::default() };
                return Ok(Reply::serde(&events).header("X-Consul-Index", &meta.index.to_string()));
            }
        }
    })
}

/// Waits for a change; false when the deadline came first or nothing can change any more.
pub async fn changed_by(
    changes: &mut tokio::sync::watch::Receiver<u64>,
    deadline: tokio::time::Instant,
) -> bool {
    matches!(tokio::time::timeout_at(deadline, changes.changed()).await, Ok(Ok(())))
}

/// How long a blocking query of the agent's own waits.
pub fn wait_of(call: &Call, query: &QueryOptions) -> Duration {
    match query.max_query_time.to_std() {
        Duration::ZERO => call.config.default_query_time,
        wait => wait.min(call.config.max_query_time),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_follows_the_newest_event() {
        assert_eq!(index_of(&[]), 1);
        let event = |id: &str| Arc::new(UserEvent { id: id.to_owned(), ..UserEvent::default() });
        let first = event("00000000-0000-0001-0000-000000000003");
        assert_eq!(index_of(&[event("not a uuid"), first]), 2);
    }

    #[test]
    fn filters_are_checked() {
        let event = UserEvent { node_filter: "(".to_owned(), ..UserEvent::default() };
        assert!(check_filters(&event).unwrap_err().text.ends_with("missing closing ): `(`"));
        let event = UserEvent { tag_filter: "a".to_owned(), ..UserEvent::default() };
        assert!(check_filters(&event).is_err());
    }
}
