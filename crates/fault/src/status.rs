//! A fault as a gRPC status with google.rpc details, and back.

use std::collections::HashMap;

use serde_json::Value;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, FieldViolation, StatusExt};

use crate::{Fault, Kind, Rule, Violation};

/// `ErrorInfo.domain` of every fault.
pub const DOMAIN: &str = "quire";

// Keys of `ErrorInfo.metadata` that carry what google.rpc has no field for.
const KIND: &str = "kind";
const RULE: &str = "rule.";
const CONTEXT: &str = "context.";

impl From<Fault> for Status {
    fn from(fault: Fault) -> Self {
        let mut metadata: HashMap<String, String> = fault.metadata;
        metadata.insert(KIND.to_owned(), fault.kind.name().to_owned());
        for (place, violation) in fault.violations.iter().enumerate() {
            metadata.insert(format!("{RULE}{place}"), violation.rule.kind().to_owned());
            if let Some(context) = violation.rule.context() {
                metadata.insert(format!("{CONTEXT}{place}"), context.to_string());
            }
        }
        let mut details = ErrorDetails::with_error_info(fault.reason, DOMAIN, metadata);
        if let Some(retry_after) = fault.retry_after {
            details.set_retry_info(Some(retry_after));
        }
        if !fault.violations.is_empty() {
            let violations = fault.violations.iter();
            details.set_bad_request(
                violations
                    .map(|violation| FieldViolation::new(violation.field.clone(), violation.rule.message()))
                    .collect::<Vec<_>>(),
            );
        }
        Status::with_error_details(fault.kind.code(), fault.message, details)
    }
}

impl From<&Status> for Fault {
    /// Reads a status, also one that does not come from Quire: an unknown one keeps its code's kind, and an
    /// internal one loses its message.
    fn from(status: &Status) -> Self {
        // tonic reports an expired deadline as CANCELLED, and a broken transport as UNKNOWN or CANCELLED with
        // the transport error as source. A caller must be able to tell these from its own cancellation.
        if status.code() == Code::Cancelled && status.message().contains("Timeout expired") {
            return Fault::new(Kind::Deadline, "DEADLINE_EXCEEDED", "the time allowed ran out");
        }
        let details = status.get_error_details();
        let Some(info) = details.error_info().filter(|info| info.domain == DOMAIN) else {
            return foreign(status);
        };
        let kind = info.metadata.get(KIND).and_then(|name| Kind::from_name(name));
        let violations = details.bad_request().map(|bad| bad.field_violations.as_slice()).unwrap_or_default();
        Fault {
            kind: kind.unwrap_or(Kind::from_code(status.code())),
            reason: info.reason.clone(),
            message: status.message().to_owned(),
            violations: violations
                .iter()
                .enumerate()
                .map(|(place, violation)| {
                    let rule = info.metadata.get(&format!("{RULE}{place}"));
                    let context = info.metadata.get(&format!("{CONTEXT}{place}"));
                    let context = context.and_then(|text| serde_json::from_str::<Value>(text).ok());
                    let rule = rule.and_then(|kind| Rule::parse(kind, context.as_ref()));
                    Violation {
                        field: violation.field.clone(),
                        rule: rule.unwrap_or_else(|| Rule::Value(violation.description.clone())),
                    }
                })
                .collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
            metadata: info
                .metadata
                .iter()
                .filter(|(key, _)| *key != KIND && !key.starts_with(RULE) && !key.starts_with(CONTEXT))
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }
}

fn foreign(status: &Status) -> Fault {
    let transport = std::error::Error::source(status).is_some();
    let kind = match status.code() {
        Code::Unknown | Code::Cancelled if transport => Kind::Unavailable,
        // tonic answers so when a message is larger than the peer decodes.
        Code::OutOfRange => Kind::TooLarge,
        code => Kind::from_code(code),
    };
    let (reason, message) = match kind {
        Kind::Internal => ("INTERNAL", "internal error"),
        Kind::Unavailable => ("UNAVAILABLE", "a part that is needed does not answer"),
        Kind::Deadline => ("DEADLINE_EXCEEDED", "the time allowed ran out"),
        Kind::Unimplemented => ("UNIMPLEMENTED", "there is no such operation"),
        _ => ("UPSTREAM", status.message()),
    };
    Fault::new(kind, reason, message)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn every_part_of_a_fault_survives_the_way_through_a_status() {
        let rules = [
            Rule::Missing,
            Rule::GreaterThanEqual(3),
            Rule::LessThanEqual(1000),
            Rule::StringTooShort(1),
            Rule::StringTooLong(200),
            Rule::StringType,
            Rule::IntType,
            Rule::IntFromFloat,
            Rule::IntParsing,
            Rule::BoolType,
            Rule::ListType,
            Rule::DictType,
            Rule::TooLong(5),
            Rule::Enum(vec!["en".into(), "de".into()]),
            Rule::Value("no page can be read".into()),
        ];
        let violations = rules.into_iter().map(|rule| Violation::new("target_pages", rule)).collect();
        let fault = Fault::invalid(violations)
            .with_retry_after(Duration::from_secs(12))
            .with_metadata("max_pages", "7");
        let status = Status::from(fault.clone());
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_eq!(Fault::from(&status), fault);
    }

    #[test]
    fn kinds_that_share_a_code_stay_apart() {
        for kind in
            [Kind::Invalid, Kind::Malformed, Kind::TooLarge, Kind::Precondition, Kind::PaymentRequired]
        {
            let status = Status::from(Fault::new(kind, "X", "x"));
            assert_eq!(Fault::from(&status).kind, kind);
        }
    }

    #[test]
    fn a_foreign_internal_error_does_not_show_its_text() {
        let fault = Fault::from(&Status::internal("password=hunter2"));
        assert_eq!(fault.message, "internal error");
    }

    #[test]
    fn the_text_of_tonics_own_timeout_is_a_deadline() {
        assert_eq!(Fault::from(&Status::cancelled("Timeout expired")).kind, Kind::Deadline);
    }
}
