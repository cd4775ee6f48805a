//! A broken rule of one field, in the words and types of FastAPI and pydantic, which clients already know.

use serde_json::{Value, json};

/// One broken rule. Every variant knows its pydantic `type`, its `msg` and its `ctx`.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    Missing,
    /// Inclusive lower bound of a number.
    GreaterThanEqual(i64),
    /// Inclusive upper bound of a number.
    LessThanEqual(i64),
    /// Minimum of characters.
    StringTooShort(i64),
    /// Maximum of characters.
    StringTooLong(i64),
    StringType,
    IntType,
    /// A number was sent, but with a fractional part.
    IntFromFloat,
    /// A string was sent that is not a whole number.
    IntParsing,
    BoolType,
    ListType,
    DictType,
    /// More list items than accepted.
    TooLong(i64),
    /// The accepted values.
    Enum(Vec<String>),
    /// Anything else, in one sentence.
    Value(String),
}

impl Rule {
    /// pydantic's `type`.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::GreaterThanEqual(_) => "greater_than_equal",
            Self::LessThanEqual(_) => "less_than_equal",
            Self::StringTooShort(_) => "string_too_short",
            Self::StringTooLong(_) => "string_too_long",
            Self::StringType => "string_type",
            Self::IntType => "int_type",
            Self::IntFromFloat => "int_from_float",
            Self::IntParsing => "int_parsing",
            Self::BoolType => "bool_type",
            Self::ListType => "list_type",
            Self::DictType => "dict_type",
            Self::TooLong(_) => "too_long",
            Self::Enum(_) => "enum",
            Self::Value(_) => "value_error",
        }
    }

    /// pydantic's `msg`.
    pub fn message(&self) -> String {
        fn characters(count: i64) -> String {
            format!("{count} character{}", if count == 1 { "" } else { "s" })
        }
        match self {
            Self::Missing => "Field required".to_owned(),
            Self::GreaterThanEqual(bound) => format!("Input should be greater than or equal to {bound}"),
            Self::LessThanEqual(bound) => format!("Input should be less than or equal to {bound}"),
            Self::StringTooShort(count) => format!("String should have at least {}", characters(*count)),
            Self::StringTooLong(count) => format!("String should have at most {}", characters(*count)),
            Self::StringType => "Input should be a valid string".to_owned(),
            Self::IntType => "Input should be a valid integer".to_owned(),
            Self::IntFromFloat => {
                "Input should be a valid integer, got a number with a fractional part".to_owned()
            }
            Self::IntParsing => {
                "Input should be a valid integer, unable to parse string as an integer".to_owned()
            }
            Self::BoolType => "Input should be a valid boolean".to_owned(),
            Self::ListType => "Input should be a valid list".to_owned(),
            Self::DictType => "Input should be a valid dictionary".to_owned(),
            Self::TooLong(count) => format!("List should have at most {count} items after validation"),
            Self::Enum(accepted) => {
                let quoted: Vec<String> = accepted.iter().map(|value| format!("'{value}'")).collect();
                match quoted.split_last() {
                    Some((last, [])) => format!("Input should be {last}"),
                    Some((last, rest)) => format!("Input should be {} or {last}", rest.join(", ")),
                    None => "Input should be one of the accepted values".to_owned(),
                }
            }
            Self::Value(sentence) => format!("Value error, {sentence}"),
        }
    }

    /// pydantic's `ctx`.
    pub fn context(&self) -> Option<Value> {
        match self {
            Self::GreaterThanEqual(bound) => Some(json!({ "ge": bound })),
            Self::LessThanEqual(bound) => Some(json!({ "le": bound })),
            Self::StringTooShort(count) => Some(json!({ "min_length": count })),
            Self::StringTooLong(count) => Some(json!({ "max_length": count })),
            Self::TooLong(count) => Some(json!({ "max_length": count })),
            Self::Enum(accepted) => Some(json!({ "expected": accepted })),
            Self::Value(sentence) => Some(json!({ "error": sentence })),
            Self::Missing
            | Self::StringType
            | Self::IntType
            | Self::IntFromFloat
            | Self::IntParsing
            | Self::BoolType
            | Self::ListType
            | Self::DictType => None,
        }
    }

    /// Reads a rule back from `kind` and `context`.
    pub(crate) fn parse(kind: &str, context: Option<&Value>) -> Option<Self> {
        let number = |key: &str| context.and_then(|context| context.get(key)).and_then(Value::as_i64);
        Some(match kind {
            "missing" => Self::Missing,
            "greater_than_equal" => Self::GreaterThanEqual(number("ge")?),
            "less_than_equal" => Self::LessThanEqual(number("le")?),
            "string_too_short" => Self::StringTooShort(number("min_length")?),
            "string_too_long" => Self::StringTooLong(number("max_length")?),
            "string_type" => Self::StringType,
            "int_type" => Self::IntType,
            "int_from_float" => Self::IntFromFloat,
            "int_parsing" => Self::IntParsing,
            "bool_type" => Self::BoolType,
            "list_type" => Self::ListType,
            "dict_type" => Self::DictType,
            "too_long" => Self::TooLong(number("max_length")?),
            "enum" => Self::Enum(serde_json::from_value(context?.get("expected")?.clone()).ok()?),
            "value_error" => Self::Value(context?.get("error")?.as_str()?.to_owned()),
            _ => return None,
        })
    }
}

/// A broken rule and the field that breaks it.
#[derive(Debug, Clone, PartialEq)]
pub struct Violation {
    /// Path inside the request in proto field names, dots between: `sections.0.title`.
    pub field: String,
    pub rule: Rule,
}

impl Violation {
    pub fn new(field: &str, rule: Rule) -> Self {
        Self { field: field.to_owned(), rule }
    }

    /// Checks the length of a text, counted in characters after trimming.
    pub fn text_length(field: &str, text: &str, min: usize, max: usize) -> Option<Self> {
        let length = text.trim().chars().count();
        let bound = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        if length < min {
            Some(Self::new(field, Rule::StringTooShort(bound(min))))
        } else if length > max {
            Some(Self::new(field, Rule::StringTooLong(bound(max))))
        } else {
            None
        }
    }

    /// Checks the bounds of a number, both inclusive.
    pub fn range(field: &str, value: i64, min: i64, max: i64) -> Option<Self> {
        if value < min {
            Some(Self::new(field, Rule::GreaterThanEqual(min)))
        } else if value > max {
            Some(Self::new(field, Rule::LessThanEqual(max)))
        } else {
            None
        }
    }
}
