//! How many patterns one text must fit at once. The engine for grammars looks whether there is such a text, and its time
//! and memory double with each.

use std::collections::{BTreeSet, HashSet};

use serde_json::{Map, Value};

use crate::schema::reference::target;

/// The most patterns and formats that one text must fit: with 14 the engine takes a second.
pub(super) const PATTERNS: usize = 10;
/// The most schemas that are looked at, again at each place where they hold; how many at one place, and how deep. What
/// has more meets the engine's own bounds.
const LOOKED_AT: usize = 200_000;
const AT_ONE_PLACE: usize = 500;
const DEEPEST: usize = 200;

/// Whether a text of this schema must fit more than that.
pub(super) fn too_many(root: &Value) -> bool {
    let mut search = Search {
        root,
        seen: HashSet::new(),
        left: LOOKED_AT,
        found: false,
    };
    search.place(&[], &[root], 0);
    search.found
}

type Schema = Map<String, Value>;

struct Search<'a> {
    root: &'a Value,
    /// The schemas that hold together at each place that was looked at.
    seen: HashSet<Vec<*const Schema>>,
    left: usize,
    found: bool,
}

impl<'a> Search<'a> {
    /// Looks at a place where the schemas of `known` hold, and those of `more`.
    fn place(&mut self, known: &[&'a Schema], more: &[&'a Value], depth: usize) {
        if self.found || self.left == 0 || depth > DEEPEST {
            return;
        }
        let mut all = known.to_vec();
        let mut choices = Vec::new();
        for schema in more {
            self.gather(schema, &mut all, &mut choices);
        }
        self.left = self.left.saturating_sub(1 + all.len());
        let mut key: Vec<*const Schema> = all.iter().map(|one| std::ptr::from_ref(*one)).collect();
        key.sort_unstable();
        if !self.seen.insert(key) {
            return;
        }
        let patterns = all.iter().map(|schema| {
            let has = |name: &str| usize::from(schema.contains_key(name));
            has("pattern") + has("format")
        });
        self.found |= patterns.sum::<usize>() > PATTERNS;
        for choice in choices {
            self.place(&all, &[choice], depth + 1);
        }
        self.parts(&all, depth + 1);
    }

    /// Adds a schema with all that holds together with it, and of what there is a choice.
    fn gather(&self, schema: &'a Value, all: &mut Vec<&'a Schema>, choices: &mut Vec<&'a Value>) {
        let Some(schema) = schema.as_object() else {
            return;
        };
        if all.iter().any(|one| std::ptr::eq(*one, schema)) || all.len() >= AT_ONE_PLACE {
            return;
        }
        all.push(schema);
        let lists = |name: &str| schema.get(name).and_then(Value::as_array);
        for part in lists("allOf").into_iter().flatten() {
            self.gather(part, all, choices);
        }
        let reference = schema.get("$ref").and_then(Value::as_str);
        let referred = reference.and_then(|to| target(self.root, to));
        if let Some(referred) = referred {
            self.gather(referred, all, choices);
        }
        for name in ["anyOf", "oneOf"] {
            choices.extend(lists(name).into_iter().flatten());
        }
    }

    /// Looks at the properties and items of what all these schemas describe.
    fn parts(&mut self, all: &[&'a Schema], depth: usize) {
        let under = |schema: &'a Schema, name: &str, key: &str| schema.get(name)?.get(key);
        for group in ["properties", "patternProperties"] {
            let objects = all
                .iter()
                .filter_map(|schema| schema.get(group)?.as_object());
            let names: BTreeSet<&'a String> = objects.flat_map(Map::keys).collect();
            for name in names {
                let of = |schema: &&'a Schema| {
                    under(schema, group, name).or_else(|| schema.get("additionalProperties"))
                };
                let there: Vec<_> = all.iter().filter_map(of).collect();
                self.place(&[], &there, depth);
            }
        }
        let lists = all
            .iter()
            .filter_map(|schema| schema.get("prefixItems")?.as_array());
        for at in 0..lists.map(Vec::len).max().unwrap_or(0) {
            let of = |schema: &&'a Schema| {
                let listed = schema.get("prefixItems").and_then(|list| list.get(at));
                listed.or_else(|| schema.get("items"))
            };
            let there: Vec<_> = all.iter().filter_map(of).collect();
            self.place(&[], &there, depth);
        }
        for name in ["additionalProperties", "items"] {
            let there: Vec<_> = all.iter().filter_map(|schema| schema.get(name)).collect();
            self.place(&[], &there, depth);
        }
    }
}
