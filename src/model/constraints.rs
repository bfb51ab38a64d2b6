//! By which way an answer is kept to a grammar.

use super::{GenerateOptions, Model};
use crate::protocol::constraint::{Constraint, Way};
use crate::protocol::error::Failure;

impl Model {
    /// What the answers of a call are kept to, and how.
    pub(super) fn constraint(
        &self,
        options: &GenerateOptions,
    ) -> Result<Option<Constraint>, Failure> {
        let Some(constraint) = &options.constraint else {
            return match options.constraint_way {
                None => Ok(None),
                Some(_) => Err(Failure::invalid_with_hint(
                    "constraint",
                    "has no effect without json_schema, regex, choices, grammar or a tool_choice that asks for a call",
                    "Pass one of them, or leave constraint out.",
                )),
            };
        };
        constraint.check()?;
        let able = self.runtime.capabilities();
        let pauses = able.has("pause");
        let is_batch = self.effective.n_batch > 1;
        let way = options.constraint_way.unwrap_or_else(|| {
            if able.has("structured_output") {
                Way::Mask
            } else if pauses && !options.keep_history {
                Way::Guided
            } else {
                Way::Retry
            }
        });
        let instead = if pauses {
            "\"guided\" or \"retry\""
        } else {
            "\"retry\""
        };
        match way {
            Way::Mask if !able.has("structured_output") => {
                let needs = "the CPU runtime (backend=\"cpu\")";
                let hint = format!("Pass constraint={instead}, or leave constraint out.");
                return Err(able.lacks("constraint=\"mask\"", needs).with_hint(hint));
            }
            Way::Mask => {}
            _ if is_batch => {
                let hint = "Open the model with n_batch=1 to keep its answers to a form.";
                let feature = format!(
                    "constraint=\"{}\" with n_batch greater than 1",
                    way.as_str()
                );
                return Err(able
                    .lacks(&feature, "the CPU runtime and constraint=\"mask\"")
                    .with_hint(hint));
            }
            Way::Guided if !pauses => {
                return Err(able
                    .lacks_feature("pause", "constraint=\"guided\"")
                    .with_hint("Pass constraint=\"retry\", or leave constraint out."));
            }
            Way::Guided if options.keep_history => {
                return Err(Failure::invalid_with_hint(
                    "keep_history",
                    "cannot be combined with constraint=\"guided\": the library pauses only in a run without history",
                    "Pass constraint=\"retry\", which checks the answer.",
                ));
            }
            Way::Guided | Way::Retry => {}
        }
        Ok(Some(Constraint {
            way: Some(way),
            ..constraint.clone()
        }))
    }
}
