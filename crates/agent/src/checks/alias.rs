//! Aliases: a check that says what the checks of another service or node say.

use model::health::HealthCheck;

use super::{CRITICAL, Outcome, WARNING};

/// What an alias mirrors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// Another node, whose checks stand in the catalog; empty for a service of this agent.
    pub node: String,
    /// The service; empty for the node alone.
    pub service_id: String,
}

impl Alias {
    /// The worst of the node's and the service's checks. The alias itself does not count.
    pub fn look<'a>(&self, own_id: &str, checks: impl Iterator<Item = &'a HealthCheck>) -> Outcome {
        let mut found = false;
        let mut warning = None;
        for check in checks {
            if !check.service_id.is_empty() && check.service_id != self.service_id {
                continue;
            }
            if check.check_id == own_id {
                continue;
            }
            found = true;
            let says = || format!("Aliased check {:?} failing: {}", check.name, check.output);
            match check.status.as_str() {
                CRITICAL => return Outcome::critical(says()),
                WARNING => warning = Some(says()),
                _ => {}
            }
        }
        match warning {
            Some(says) => Outcome::warning(says),
            None if found => Outcome::passing("All checks passing."),
            None => Outcome::passing("No checks found."),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id: &str, service: &str, status: &str) -> HealthCheck {
        HealthCheck {
            check_id: id.into(),
            name: id.into(),
            service_id: service.into(),
            status: status.into(),
            output: "down".into(),
            ..HealthCheck::default()
        }
    }

    #[test]
    fn the_worst_decides() {
        let alias = Alias { node: String::new(), service_id: "main".into() };
        let look = |checks: &[HealthCheck]| {
            let outcome = alias.look("me", checks.iter());
            (outcome.status, outcome.output)
        };
        assert_eq!(look(&[]), ("passing", "No checks found.".to_owned()));
        let mut checks = vec![check("me", "", "critical"), check("x", "other", "critical")];
        assert_eq!(look(&checks).1, "No checks found.");
        checks.push(check("a", "main", "passing"));
        assert_eq!(look(&checks), ("passing", "All checks passing.".to_owned()));
        checks.push(check("b", "main", "warning"));
        assert_eq!(look(&checks), ("warning", "Aliased check \"b\" failing: down".to_owned()));
        checks.push(check("n", "", "critical"));
        assert_eq!(look(&checks), ("critical", "Aliased check \"n\" failing: down".to_owned()));
    }
}
