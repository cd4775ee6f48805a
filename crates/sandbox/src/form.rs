//! Form-encoded parameters with bracket notation: `line_items[0][price_data][currency]=usd`.
//!
//! An endpoint takes out of [`Params`] the fields that it knows and then calls [`Params::finish`], which refuses
//! the rest: a misspelt parameter is an error here as it is at Stripe.

use std::collections::BTreeMap;

use crate::refusal::Refusal;

/// How deep brackets may nest. Stripe's own parameters need five.
const MAX_DEPTH: usize = 8;

/// The fields of one level of a request, with the name of the level for messages.
#[derive(Debug)]
pub(crate) struct Params {
    name: String,
    fields: BTreeMap<String, Node>,
}

#[derive(Debug)]
enum Node {
    Text(String),
    Group(BTreeMap<String, Node>),
}

/// Decodes a form-encoded body or query into names and values.
pub(crate) fn pairs(encoded: &[u8]) -> Vec<(String, String)> {
    url::form_urlencoded::parse(encoded).into_owned().collect()
}

impl Params {
    /// Builds the tree that the bracket notation describes.
    pub(crate) fn parse(pairs: &[(String, String)]) -> Result<Self, Refusal> {
        let mut fields = BTreeMap::new();
        for (name, value) in pairs {
            let path = path_of(name).ok_or_else(|| malformed(name))?;
            insert(&mut fields, &path, value).ok_or_else(|| malformed(name))?;
        }
        Ok(Self { name: String::new(), fields })
    }

    /// An optional text. An empty one is refused, since Stripe reads it as "unset this".
    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, Refusal> {
        match self.fields.remove(name) {
            None => Ok(None),
            Some(Node::Text(text)) if text.is_empty() => Err(Refusal::parameter(
                "parameter_invalid_empty",
                self.full(name),
                format!("You passed an empty string for '{}'.", self.full(name)),
            )),
            Some(Node::Text(text)) => Ok(Some(text)),
            Some(Node::Group(_)) => Err(malformed(&self.full(name))),
        }
    }

    pub(crate) fn required_text(&mut self, name: &str) -> Result<String, Refusal> {
        self.text(name)?.ok_or_else(|| self.absent(name))
    }

    /// An optional whole number.
    pub(crate) fn integer(&mut self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        let number = text.parse().map_err(|_| {
            Refusal::parameter(
                "parameter_invalid_integer",
                self.full(name),
                format!("Invalid integer: {}", self.full(name)),
            )
        })?;
        Ok(Some(number))
    }

    pub(crate) fn required_integer(&mut self, name: &str) -> Result<i64, Refusal> {
        self.integer(name)?.ok_or_else(|| self.absent(name))
    }

    /// An optional group of named fields. Not given and given empty are the same.
    pub(crate) fn group(&mut self, name: &str) -> Result<Params, Refusal> {
        match self.fields.remove(name) {
            None => Ok(Self { name: self.full(name), fields: BTreeMap::new() }),
            Some(Node::Group(fields)) => Ok(Self { name: self.full(name), fields }),
            Some(Node::Text(_)) => Err(malformed(&self.full(name))),
        }
    }

    /// A list of groups, in the order of their indexes.
    pub(crate) fn groups(&mut self, name: &str) -> Result<Vec<Params>, Refusal> {
        let list = self.full(name);
        let mut groups = Vec::new();
        for (index, node) in self.list(name)? {
            let Node::Group(fields) = node else {
                return Err(malformed(&list));
            };
            groups.push(Self { name: format!("{list}[{index}]"), fields });
        }
        Ok(groups)
    }

    /// A list of texts, in the order of their indexes.
    pub(crate) fn texts(&mut self, name: &str) -> Result<Vec<String>, Refusal> {
        let list = self.full(name);
        self.list(name)?
            .into_iter()
            .map(|(_, node)| match node {
                Node::Text(text) => Ok(text),
                Node::Group(_) => Err(malformed(&list)),
            })
            .collect()
    }

    /// An optional `true` or `false`.
    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, Refusal> {
        match self.text(name)?.as_deref() {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(_) => Err(Refusal::parameter(
                "parameter_invalid",
                self.full(name),
                format!("Invalid boolean: {}", self.full(name)),
            )),
        }
    }

    /// Whether a field is given as an empty text, which takes away what it had.
    pub(crate) fn take_cleared(&mut self, name: &str) -> bool {
        let cleared = matches!(self.fields.get(name), Some(Node::Text(text)) if text.is_empty());
        if cleared {
            self.fields.remove(name);
        }
        cleared
    }

    /// A group of texts whose names the caller chooses.
    pub(crate) fn named_texts(&mut self, name: &str) -> Result<BTreeMap<String, String>, Refusal> {
        let group = self.group(name)?;
        let mut texts = BTreeMap::new();
        for (key, node) in group.fields {
            let Node::Text(text) = node else {
                return Err(malformed(&group.name));
            };
            texts.insert(key, text);
        }
        Ok(texts)
    }

    /// Whether nothing was given at this level.
    pub(crate) fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Refuses whatever no one has taken.
    pub(crate) fn finish(self) -> Result<(), Refusal> {
        match self.fields.keys().next() {
            None => Ok(()),
            Some(name) => Err(Refusal::parameter(
                "parameter_unknown",
                self.full(name),
                format!("Received unknown parameter: {}", self.full(name)),
            )),
        }
    }

    /// The refusal for a required field of this level.
    pub(crate) fn absent(&self, name: &str) -> Refusal {
        Refusal::parameter(
            "parameter_missing",
            self.full(name),
            format!("Missing required param: {}.", self.full(name)),
        )
    }

    /// The name of a field as the caller wrote it.
    pub(crate) fn full(&self, name: &str) -> String {
        if self.name.is_empty() { name.to_owned() } else { format!("{}[{name}]", self.name) }
    }

    fn list(&mut self, name: &str) -> Result<Vec<(usize, Node)>, Refusal> {
        let list = self.full(name);
        let Some(node) = self.fields.remove(name) else {
            return Ok(Vec::new());
        };
        let Node::Group(fields) = node else {
            return Err(malformed(&list));
        };
        let mut items = Vec::new();
        for (index, node) in fields {
            items.push((index.parse().map_err(|_| malformed(&list))?, node));
        }
        // As text, "10" comes before "2".
        items.sort_by_key(|(index, _): &(usize, Node)| *index);
        Ok(items)
    }
}

fn malformed(name: &str) -> Refusal {
    Refusal::parameter("parameter_invalid_format", name, format!("Invalid parameter: {name}"))
}

/// Splits `a[b][]` into `a`, `b` and the empty name, which means "the next index".
fn path_of(name: &str) -> Option<Vec<&str>> {
    let Some((head, mut rest)) = name.split_once('[') else {
        return (!name.is_empty()).then(|| vec![name]);
    };
    let mut path = vec![head];
    loop {
        let (part, after) = rest.split_once(']')?;
        if part.contains('[') || path.len() == MAX_DEPTH {
            return None;
        }
        path.push(part);
        if after.is_empty() {
            return (!head.is_empty()).then_some(path);
        }
        rest = after.strip_prefix('[')?;
    }
}

fn insert(fields: &mut BTreeMap<String, Node>, path: &[&str], value: &str) -> Option<()> {
    let (first, rest) = path.split_first()?;
    let key = if first.is_empty() { fields.len().to_string() } else { (*first).to_owned() };
    if rest.is_empty() {
        // The last value wins, but a text never replaces a group.
        return match fields.insert(key, Node::Text(value.to_owned())) {
            Some(Node::Group(_)) => None,
            _ => Some(()),
        };
    }
    match fields.entry(key).or_insert_with(|| Node::Group(BTreeMap::new())) {
        Node::Group(inner) => insert(inner, rest, value),
        Node::Text(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(encoded: &str) -> Result<Params, Refusal> {
        Params::parse(&pairs(encoded.as_bytes()))
    }

    #[test]
    fn brackets_make_groups_and_lists_in_index_order() {
        let mut params = parse(
            "line_items[10][quantity]=3&line_items[2][quantity]=1&line_items%5B2%5D%5Bprice%5D%5Bname%5D=A+%26+B\
             &types[]=a&types[]=b&metadata[order_id]=o-1",
        )
        .unwrap();
        let mut items = params.groups("line_items").unwrap();
        assert_eq!(items.len(), 2);
        assert_eq!(items[0].integer("quantity").unwrap(), Some(1));
        assert_eq!(items[0].group("price").unwrap().text("name").unwrap().as_deref(), Some("A & B"));
        assert_eq!(items[1].integer("quantity").unwrap(), Some(3));
        assert_eq!(params.texts("types").unwrap(), ["a", "b"]);
        assert_eq!(params.named_texts("metadata").unwrap()["order_id"], "o-1");
        params.finish().unwrap();
    }

    #[test]
    fn a_field_that_no_one_takes_is_refused_by_its_full_name() {
        let mut params = parse("a[b]=1&a[c]=2").unwrap();
        let mut group = params.group("a").unwrap();
        group.text("b").unwrap();
        let body = group.finish().unwrap_err().body();
        assert_eq!(body["error"]["code"], "parameter_unknown");
        assert_eq!(body["error"]["param"], "a[c]");
    }

    #[test]
    fn a_missing_field_of_a_list_item_is_named_in_full() {
        let mut items = parse("line_items[0][quantity]=1").unwrap().groups("line_items").unwrap();
        let body = items[0].required_integer("unit_amount").unwrap_err().body();
        assert_eq!(body["error"]["param"], "line_items[0][unit_amount]");
    }

    #[test]
    fn malformed_names_and_contradictions_are_refused() {
        for bad in ["a[b=1", "a]b[=1", "[a]=1", "=1", "a[b]c=1", "a[[b]]=1", "a=1&a[b]=2", "a[b]=2&a=1"] {
            assert!(parse(bad).is_err(), "{bad} was taken");
        }
        assert!(parse(&format!("a{}=1", "[b]".repeat(MAX_DEPTH))).is_err());
    }
}
