//! Query templates: one query for many names, by text with `${...}` in it.
//!
//! What can stand in the braces: `name.full`, `name.prefix`, `name.suffix`, `match(N)` (a group of
//! the template's regular expression, empty if it does not match), `agent.segment`. `$${` writes a
//! literal `${`.

use filter::regexp;
use model::query::PreparedQuery;

/// The only type of template.
const NAME_PREFIX: &str = "name_prefix_match";

/// Why a template cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum TemplateError {
    #[error("Bad Template.Type '{0}'")]
    Type(String),
    #[error("Bad Regexp: {0}")]
    Regexp(String),
    #[error("Bad format '{text}' in Service{field}: {reason}")]
    Format { field: String, text: String, reason: String },
}

/// What a template is filled with.
struct Values<'a> {
    full: &'a str,
    prefix: &'a str,
    groups: Vec<String>,
}

impl Values<'_> {
    fn get(&self, expression: &str) -> Result<String, String> {
        let text = match expression.trim() {
            "name.full" => self.full,
            "name.prefix" => self.prefix,
            "name.suffix" => self.full.get(self.prefix.len()..).unwrap_or_default(),
            // The open edition has one segment, without a name.
            "agent.segment" => "",
            other => {
                let inner = other.strip_prefix("match(").and_then(|rest| rest.strip_suffix(')'));
                let number = inner.ok_or_else(|| format!("unknown variable accessed: {other}"))?;
                let number: usize =
                    number.trim().parse().map_err(|_| format!("match takes a number, not {number:?}"))?;
                return Ok(self.groups.get(number).cloned().unwrap_or_default());
            }
        };
        Ok(text.to_owned())
    }

    fn fill(&self, text: &str) -> Result<String, String> {
        let mut filled = String::with_capacity(text.len());
        let mut rest = text;
        while let Some(start) = rest.find("${") {
            if rest[..start].ends_with('$') {
                filled.push_str(&rest[..start - 1]);
                filled.push_str("${");
                rest = &rest[start + 2..];
                continue;
            }
            filled.push_str(&rest[..start]);
            let inner = &rest[start + 2..];
            let end = inner.find('}').ok_or("expected } to close the expression")?;
            filled.push_str(&self.get(&inner[..end])?);
            rest = &inner[end + 1..];
        }
        filled.push_str(rest);
        Ok(filled)
    }
}

/// Checks that a template can be filled at all.
pub(super) fn check(query: &PreparedQuery) -> Result<(), TemplateError> {
    if query.template.r#type.is_empty() {
        return Ok(());
    }
    fill(query, &query.name).map(drop)
}

/// The query that a template stands for under a name.
pub(super) fn fill(query: &PreparedQuery, name: &str) -> Result<PreparedQuery, TemplateError> {
    let template = &query.template;
    if template.r#type != NAME_PREFIX {
        return Err(TemplateError::Type(template.r#type.clone()));
    }
    let mut groups = Vec::new();
    if !template.regexp.is_empty() {
        let regex = regexp::compile(&template.regexp).map_err(TemplateError::Regexp)?;
        if let Some(captures) = regex.captures(name) {
            groups =
                captures.iter().map(|group| group.map_or("", |group| group.as_str()).to_owned()).collect();
        }
    }
    let values = Values { full: name, prefix: &query.name, groups };
    let mut filled = query.clone();
    let service = &mut filled.service;
    let put = |field: &str, text: &mut String| -> Result<(), TemplateError> {
        match values.fill(text) {
            Ok(new) => {
                *text = new;
                Ok(())
            }
            Err(reason) => Err(TemplateError::Format { field: field.to_owned(), text: text.clone(), reason }),
        }
    };
    put(".Service", &mut service.service)?;
    put(".Near", &mut service.near)?;
    for (index, datacenter) in service.failover.datacenters.iter_mut().enumerate() {
        put(&format!(".Failover.Datacenters[{index}]"), datacenter)?;
    }
    for (index, tag) in service.tags.iter_mut().enumerate() {
        put(&format!(".Tags[{index}]"), tag)?;
    }
    for (field, map) in [(".NodeMeta", &mut service.node_meta), (".ServiceMeta", &mut service.service_meta)] {
        for (key, value) in map.iter_mut() {
            put(&format!("{field}[{key}]"), value)?;
        }
    }
    if template.remove_empty_tags {
        service.tags.retain(|tag| !tag.is_empty());
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(name: &str, service: &str, tag: &str, regexp: &str) -> PreparedQuery {
        let mut query = PreparedQuery { name: name.into(), ..PreparedQuery::default() };
        query.template.r#type = NAME_PREFIX.into();
        query.template.regexp = regexp.into();
        query.service.service = service.into();
        query.service.tags = vec![tag.into()];
        query
    }

    #[test]
    fn fills_names_and_groups() {
        let template = query("geo-", "geo-${match(1)}", "${match(2)}", "^geo-(.*?)-([^\\-]+?)$");
        let filled = fill(&template, "geo-db-primary").unwrap();
        assert_eq!((filled.service.service.as_str(), filled.service.tags[0].as_str()), ("geo-db", "primary"));
        let filled = fill(&template, "geo-nomatch").unwrap();
        assert_eq!(filled.service.service, "geo-");
        let filled =
            fill(&query("a-", "${name.suffix}", "${name.prefix}/${name.full} $${x}", ""), "a-b").unwrap();
        assert_eq!((filled.service.service.as_str(), filled.service.tags[0].as_str()), ("b", "a-/a-b ${x}"));
    }

    #[test]
    fn refuses_what_cannot_be_filled() {
        assert!(check(&query("a", "${broken", "", "")).is_err());
        assert!(check(&query("a", "${no.such}", "", "")).is_err());
        assert!(check(&query("a", "b", "", "(")).is_err());
    }
}
