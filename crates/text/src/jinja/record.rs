//! A dict of few names, as a message is one: looked through, where a table would hash each name.

use std::sync::Arc;

use minijinja::value::{Enumerator, Object, ObjectExt, Value};

/// As many names as are found sooner by looking at each.
const FEW: usize = 8;

/// A dict of a few strings and their values, in their order.
#[derive(Debug)]
pub struct Record(Box<[(Value, Value)]>);

impl Record {
    /// The dict of these pairs: a record where they are few, and have strings of their own as keys.
    #[must_use]
    pub fn dict(pairs: Vec<(Value, Value)>) -> Value {
        let is_new = |(at, (key, _)): (usize, &(Value, Value))| {
            key.as_str().is_some_and(|key| {
                pairs[..at]
                    .iter()
                    .all(|(other, _)| other.as_str() != Some(key))
            })
        };
        if pairs.len() <= FEW && pairs.iter().enumerate().all(is_new) {
            return Value::from_object(Self(pairs.into()));
        }
        Value::from_pairs(pairs)
    }

    /// The pairs of a dict that is a record.
    #[must_use]
    pub fn pairs(value: &Value) -> Option<&[(Value, Value)]> {
        value.downcast_object_ref::<Self>().map(|record| &*record.0)
    }

    fn find(&self, name: &str) -> Option<Value> {
        let mut pairs = self.0.iter();
        let found = pairs.find(|(key, _)| key.as_str() == Some(name));
        found.map(|(_, value)| value.clone())
    }
}

impl Object for Record {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.find(key.as_str()?)
    }

    fn get_value_by_str(self: &Arc<Self>, key: &str) -> Option<Value> {
        self.find(key)
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        self.mapped_rev_key_value_enumerator(|this| Box::new(this.0.iter().cloned()))
    }

    fn enumerator_len(self: &Arc<Self>) -> Option<usize> {
        Some(self.0.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jinja::Jinja;

    fn pairs(names: &[&str]) -> Vec<(Value, Value)> {
        let pair = |(at, name): (usize, &&str)| (Value::from(*name), Value::from(at));
        names.iter().enumerate().map(pair).collect()
    }

    /// What a template sees of it.
    const ALL: &str = "{{ d }} {{ d | tojson }} {{ d.a }} {{ d['b'] }} {{ d.c }} {{ d | length }} {{ 'a' in d }} {{ 0 in d }}\
        {% for k in d %}{{ k }}{% endfor %}{% for k, v in d.items() %}{{ k }}={{ v }},{% endfor %}{{ d | list }}\
        {{ d.keys() | list }} {{ d.values() | list }} {{ d.get('a') }} {{ d.get('z', 7) }} {{ d | dictsort }}\
        {{ d == e }} {{ e == d }} {{ d == dict(a=0, b=2) }} {{ d is mapping }} {{ d is sequence }} {{ d is iterable }}\
        {{ d | string }} {{ d | first }} {{ d | last }} {{ (d | items | list)[::-1] }} {{ 'yes' if d else 'no' }}\
        {{ [d, e] | unique | list | length }} {{ {'x': d}.x.b }} {{ d.copy() if d.copy is defined else '' }}";

    #[test]
    fn a_record_is_a_dict_to_templates() {
        let jinja = Jinja::new(ALL).expect("a template");
        for names in [&["a", "b"][..], &["b", "a", "c", "keys"], &[]] {
            let table = Value::from_pairs(pairs(names));
            let record = Record::dict(pairs(names));
            assert_eq!(Record::pairs(&record).map(<[_]>::len), Some(names.len()));
            assert_eq!(Record::pairs(&table).map(<[_]>::len), None);
            assert_eq!(record, table);
            assert_eq!(record.cmp(&table), std::cmp::Ordering::Equal);
            let seen = |value: &Value| {
                jinja.render(Value::from_pairs([
                    ("d", value.clone()),
                    ("e", table.clone()),
                ]))
            };
            assert_eq!(seen(&record), seen(&table), "{names:?}");
        }
    }

    #[test]
    fn others_stay_tables() {
        let many: Vec<String> = (0..=FEW).map(|at| at.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let numbered = vec![(Value::from(1), Value::from(2))];
        for pairs in [pairs(&many), pairs(&["a", "a"]), numbered] {
            let table = Value::from_pairs(pairs.clone());
            let dict = Record::dict(pairs);
            assert!(Record::pairs(&dict).is_none());
            assert_eq!(dict, table);
        }
    }
}
