//! The bookkeeping by itself, and against a catalog that drifts.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

fn service(id: &str) -> NodeService {
    NodeService { id: id.into(), service: id.into(), ..NodeService::default() }
}

fn check(id: &str, service: &str, status: &str) -> HealthCheck {
    HealthCheck {
        check_id: id.into(),
        service_id: service.into(),
        status: status.into(),
        ..HealthCheck::default()
    }
}

fn names(state: &mut State, now: Instant) -> Vec<String> {
    state
        .steps(now)
        .into_iter()
        .map(|step| match step {
            Step::Node => "node".to_owned(),
            Step::Service { id, checks } => format!("+{id}({})", checks.join(",")),
            Step::RemoveService { id } => format!("-{id}"),
            Step::Check { id } => format!("+c:{id}"),
            Step::RemoveCheck { id } => format!("-c:{id}"),
        })
        .collect()
}

#[test]
fn differences_become_steps() {
    let now = Instant::now();
    let mut state = State::new(NodeRecord::default());
    assert_eq!(names(&mut state, now), ["node"]);
    state.put_service(service("web"), String::new());
    state.put_check(check("c", "web", "passing"), String::new(), now);
    state.put_check(check("n", "", "passing"), String::new(), now);
    assert_eq!(names(&mut state, now), ["+web(c)", "+c:n"]);
    let node = Node::default();
    let there = [Arc::new(service("web")), Arc::new(service("old")), Arc::new(service("consul"))];
    let checks = [
        Arc::new(check("c", "web", "critical")),
        Arc::new(check("o", "old", "passing")),
        Arc::new(check("x", "", "passing")),
        Arc::new(check("serfHealth", "", "passing")),
    ];
    state.compare(Some(&node), &there, &checks);
    assert_eq!(names(&mut state, now), ["-old", "+c:c", "+c:n", "-c:x"]);
    state.service_removed("old");
    assert_eq!(names(&mut state, now), ["+c:c", "+c:n", "-c:x"]);
}

#[test]
fn what_changed_meanwhile_stays_out_of_sync() {
    let now = Instant::now();
    let mut state = State::new(NodeRecord::default());
    state.node_synced();
    state.put_service(service("web"), String::new());
    let sent = state.service("web").unwrap().service.clone();
    state.put_service(NodeService { port: 80, ..service("web") }, String::new());
    state.service_synced(&sent);
    assert_eq!(names(&mut state, now), ["+web()"]);
    let sent = state.service("web").unwrap().service.clone();
    state.service_synced(&sent);
    assert!(names(&mut state, now).is_empty());
    assert!(state.remove_service("web"));
    assert!(!state.remove_service("web"));
    assert_eq!(names(&mut state, now), ["-web"]);
    state.service_removed("web");
    assert!(names(&mut state, now).is_empty());
}

#[test]
fn output_alone_waits_and_status_does_not() {
    let now = Instant::now();
    let later = now + Duration::from_secs(300);
    let mut state = State::new(NodeRecord::default());
    state.node_synced();
    state.put_check(check("c", "", "passing"), String::new(), now);
    let sent = state.check("c").unwrap().check.clone();
    state.check_synced(&sent);
    assert_eq!(state.set_result("c", "passing", "1 ms", now, Some(later)).as_deref(), Some("passing"));
    assert_eq!(state.set_result("c", "passing", "1 ms", now, Some(later)), None);
    assert!(names(&mut state, now).is_empty());
    assert_eq!(state.next_deferred(), Some(later));
    // A comparison leaves it waiting.
    state.compare(Some(&Node::default()), &[], &[sent]);
    assert!(names(&mut state, now).is_empty());
    assert_eq!(names(&mut state, later), ["+c:c"]);
    assert_eq!(state.next_deferred(), None);
    let sent = state.check("c").unwrap().check.clone();
    state.check_synced(&sent);
    assert!(state.set_result("c", "passing", "2 ms", now, Some(later)).is_some());
    assert!(state.set_result("c", "critical", "gone", now, Some(later)).is_some());
    assert_eq!(names(&mut state, now), ["+c:c"]);
    assert!(state.check("c").unwrap().critical_since.is_some());
}

#[test]
fn without_deferring_output_goes_at_once() {
    let now = Instant::now();
    let mut state = State::new(NodeRecord::default());
    state.node_synced();
    state.put_check(check("c", "", "passing"), String::new(), now);
    let sent = state.check("c").unwrap().check.clone();
    state.check_synced(&sent);
    state.set_result("c", "passing", "x", now, None);
    assert_eq!(names(&mut state, now), ["+c:c"]);
}

#[test]
fn tags_of_the_catalog_win_where_that_is_wanted() {
    let mut state = State::new(NodeRecord::default());
    state.put_service(NodeService { enable_tag_override: true, ..service("web") }, String::new());
    let there = NodeService { enable_tag_override: true, tags: vec!["x".into()], ..service("web") };
    state.compare(Some(&Node::default()), &[Arc::new(there)], &[]);
    assert_eq!(state.service("web").unwrap().service.tags, ["x"]);
    assert!(names(&mut state, Instant::now()).is_empty());
}

#[test]
fn a_check_can_move_to_another_service() {
    let now = Instant::now();
    let mut state = State::new(NodeRecord::default());
    state.put_check(check("c", "a", "passing"), String::new(), now);
    state.put_check(check("c", "b", "passing"), String::new(), now);
    assert!(state.checks_of("a").is_empty());
    assert_eq!(state.checks_of("b"), ["c"]);
    state.remove_service("a");
    assert!(state.check("c").is_some());
}

/// What a catalog does with steps, and what else may happen to it.
#[derive(Default)]
struct Catalog {
    node: bool,
    services: BTreeMap<String, Arc<NodeService>>,
    checks: BTreeMap<String, Arc<HealthCheck>>,
}

impl Catalog {
    fn take(&mut self, state: &mut State, step: &Step) {
        match step {
            Step::Node => {
                self.node = true;
                state.node_synced();
            }
            Step::Service { id, checks } => {
                self.node = true;
                let service = state.raw_service(id).unwrap().service.clone();
                let checks: Vec<_> =
                    checks.iter().map(|id| state.raw_check(id).unwrap().check.clone()).collect();
                self.services.insert(id.clone(), service.clone());
                for check in &checks {
                    self.checks.insert(check.check_id.clone(), check.clone());
                }
                state.node_synced();
                state.service_synced(&service);
                checks.iter().for_each(|check| state.check_synced(check));
            }
            Step::RemoveService { id } => {
                self.services.remove(id);
                self.checks.retain(|_, check| check.service_id != *id);
                state.service_removed(id);
            }
            Step::Check { id } => {
                self.node = true;
                let check = state.raw_check(id).unwrap().check.clone();
                self.checks.insert(id.clone(), check.clone());
                state.node_synced();
                state.check_synced(&check);
            }
            Step::RemoveCheck { id } => {
                self.checks.remove(id);
                state.check_removed(id);
            }
        }
    }

    fn compare(&self, state: &mut State) {
        let services: Vec<_> = self.services.values().cloned().collect();
        let checks: Vec<_> = self.checks.values().cloned().collect();
        state.compare(self.node.then(Node::default).as_ref(), &services, &checks);
    }
}

#[derive(Clone, Debug)]
enum Event {
    Put(u8, i64),
    Remove(u8),
    PutCheck(u8, u8, bool),
    RemoveCheck(u8),
    Result(u8, bool, u8),
    /// Sends so many steps.
    Send(u8),
    /// The catalog changes by itself.
    Drift(u8, bool),
    Compare,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        (0..4_u8, 0..3_i64).prop_map(|(id, port)| Event::Put(id, port)),
        (0..4_u8).prop_map(Event::Remove),
        (0..6_u8, 0..5_u8, any::<bool>()).prop_map(|(id, of, good)| Event::PutCheck(id, of, good)),
        (0..6_u8).prop_map(Event::RemoveCheck),
        (0..6_u8, any::<bool>(), 0..3_u8).prop_map(|(id, good, output)| Event::Result(id, good, output)),
        (0..4_u8).prop_map(Event::Send),
        (0..4_u8, any::<bool>()).prop_map(|(id, add)| Event::Drift(id, add)),
        Just(Event::Compare),
    ]
}

proptest! {
    /// Whatever happened, one comparison and one round of sending make the catalog equal.
    #[test]
    fn the_catalog_converges(events in prop::collection::vec(event(), 0..60)) {
        let now = Instant::now();
        let later = now + Duration::from_secs(1);
        let mut state = State::new(NodeRecord::default());
        let mut catalog = Catalog::default();
        let name = |id: u8| format!("s{id}");
        let status = |good| if good { "passing" } else { "critical" };
        for event in events {
            match event {
                Event::Put(id, port) => {
                    state.put_service(NodeService { port, ..service(&name(id)) }, String::new());
                }
                Event::Remove(id) => {
                    state.remove_service(&name(id));
                }
                Event::PutCheck(id, of, good) => {
                    let of = if of == 4 { String::new() } else { name(of) };
                    if of.is_empty() || state.service(&of).is_some() {
                        state.put_check(check(&format!("c{id}"), &of, status(good)), String::new(), now);
                    }
                }
                Event::RemoveCheck(id) => {
                    state.remove_check(&format!("c{id}"));
                }
                Event::Result(id, good, output) => {
                    let defer = (output == 2).then_some(later);
                    state.set_result(&format!("c{id}"), status(good), &output.to_string(), now, defer);
                }
                Event::Send(count) => {
                    for step in state.steps(now).iter().take(count.into()) {
                        catalog.take(&mut state, step);
                    }
                }
                Event::Drift(id, true) => {
                    catalog.services.insert(name(id), Arc::new(service(&name(id))));
                }
                Event::Drift(id, false) => {
                    catalog.services.remove(&name(id));
                    catalog.checks.retain(|_, check| check.service_id != name(id));
                }
                Event::Compare => catalog.compare(&mut state),
            }
        }
        catalog.compare(&mut state);
        for step in &state.steps(later) {
            catalog.take(&mut state, step);
        }
        prop_assert!(state.steps(later).is_empty());
        let services: BTreeMap<_, _> =
            state.services().map(|entry| (entry.service.id.clone(), entry.service.clone())).collect();
        let checks: BTreeMap<_, _> =
            state.checks().map(|entry| (entry.check.check_id.clone(), entry.check.clone())).collect();
        prop_assert_eq!(&catalog.services, &services);
        prop_assert_eq!(&catalog.checks, &checks);
        prop_assert!(catalog.node);
        // The books hold nothing of what is gone.
        prop_assert_eq!(state.of_service.values().map(BTreeSet::len).sum::<usize>(), state.checks.len());
        prop_assert_eq!(state.checks.len(), checks.len());
        prop_assert!(state.deferred.is_empty());
    }
}
