use super::path::{Path, SPECIAL};

/// The most paths of a list.
pub const MOST_PATHS: usize = 64;

/// The longest list, in bytes.
const LONGEST: usize = 4096;

/// The longest part of a list that an error repeats, in characters.
const LONGEST_EXCERPT: usize = 80;

/// Why a list of paths can't be parsed. Messages quote the offending part of the list, shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// The list has no path.
    #[error("the list is empty")]
    Empty,
    /// The list has too many bytes.
    #[error("the list is longer than {LONGEST} bytes")]
    TooLong,
    /// The list has more paths than this.
    #[error("the list has more than {0} entries")]
    TooMany(usize),
    /// A path has too many keys.
    #[error("`{0}` has more than {most} keys", most = Path::MOST_KEYS)]
    TooDeep(String),
    /// There is nothing between two dots or commas.
    #[error("`{0}` has an empty key; write it as `\"\"` if the row has one")]
    EmptyKey(String),
    /// A key without quotes has this special character.
    #[error("`{0}` has a `{1}` where it needs quotes around the key")]
    Unquoted(String, char),
    /// A key in quotes is not a JSON string.
    #[error("`{0}` has a key in quotes that is not a JSON string")]
    NotAString(String),
    /// A name that begins with `@` is unknown, or not allowed in this list.
    #[error("`{0}` is not known here; a path that begins with `@` must be in quotes")]
    Reserved(String),
    /// A path is given twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// One path leads into the value of another.
    #[error("`{inner}` is inside `{outer}`, which is also given")]
    Inside {
        /// The longer path.
        inner: String,
        /// The shorter one.
        outer: String,
    },
}

impl ListError {
    /// The reason for the log, without any text of the list.
    pub const fn reason(&self) -> &'static str {
        match self {
            Self::Empty => "an empty list of paths",
            Self::TooLong => "a list of paths is too long",
            Self::TooMany(_) => "too many paths",
            Self::TooDeep(_) => "a path has too many keys",
            Self::EmptyKey(_) => "a path has an empty key",
            Self::Unquoted(..) => "a path lacks quotes",
            Self::NotAString(_) => "a quoted key is not a JSON string",
            Self::Reserved(_) => "a path begins with `@`",
            Self::Twice(_) => "a path is given twice",
            Self::Inside { .. } => "a path is inside another",
        }
    }
}

/// One item of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListItem {
    /// A name that fanfold defines, such as `@agent_id`.
    Own(String),
    /// A path into the row.
    Path(Path),
}

impl ListItem {
    pub(super) fn canonical(&self) -> String {
        match self {
            Self::Own(name) => name.clone(),
            Self::Path(path) => path.canonical(),
        }
    }
}

/// Parses the values of a parameter, which together form one list of at most `most` items.
pub(super) fn parse<S: AsRef<str>>(values: &[S], most: usize) -> Result<Vec<ListItem>, ListError> {
    let commas = values.len().saturating_sub(1);
    let length: usize = values.iter().map(|value| value.as_ref().len()).sum();
    if length + commas > LONGEST {
        return Err(ListError::TooLong);
    }
    if length == 0 {
        return Err(ListError::Empty);
    }
    let mut items = Vec::new();
    for value in values {
        let mut rest = Some(value.as_ref());
        while let Some(text) = rest {
            if items.len() == most {
                return Err(ListError::TooMany(most));
            }
            let (item, after) = item(text)?;
            items.push(item);
            rest = after;
        }
    }
    Ok(items)
}

/// The paths of a list that may have no other items.
pub(super) fn only_paths(items: Vec<ListItem>) -> Result<Vec<Path>, ListError> {
    items
        .into_iter()
        .map(|item| match item {
            ListItem::Path(path) => Ok(path),
            ListItem::Own(name) => Err(ListError::Reserved(excerpt(&name))),
        })
        .collect()
}

/// Refuses an item that is given twice.
pub(super) fn check_once(items: &[ListItem]) -> Result<(), ListError> {
    for (at, item) in items.iter().enumerate() {
        if items[..at].contains(item) {
            return Err(ListError::Twice(excerpt(&item.canonical())));
        }
    }
    Ok(())
}

/// Refuses an item that is given twice, and a path that leads into the value of another.
pub(super) fn check_apart(items: &[ListItem]) -> Result<(), ListError> {
    check_once(items)?;
    let paths =
        || items.iter().filter_map(|item| if let ListItem::Path(path) = item { Some(path) } else { None });
    for outer in paths() {
        if let Some(inner) = paths().find(|inner| outer.holds(inner) && *inner != outer) {
            let (inner, outer) = (excerpt(&inner.canonical()), excerpt(&outer.canonical()));
            return Err(ListError::Inside { inner, outer });
        }
    }
    Ok(())
}

/// A part of a list as error messages quote it.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_EXCERPT).collect()
}

/// Parses the first item of a list; also returns the text after its comma.
fn item(text: &str) -> Result<(ListItem, Option<&str>), ListError> {
    let mut keys = Vec::new();
    let mut rest = text;
    let named = |rest: &str| excerpt(up_to_comma(text, text.len() - rest.len()));
    loop {
        let (key, after) = key(rest).map_err(|problem| problem(named(rest)))?;
        let next = after.chars().next();
        if key.first() == Some(&b'@') && !rest.starts_with('"') {
            let name = &rest[..rest.len() - after.len()];
            return match next {
                None | Some(',') if keys.is_empty() => Ok((ListItem::Own(name.to_owned()), after.get(1..))),
                _ => Err(ListError::Reserved(named(after))),
            };
        }
        if keys.len() == Path::MOST_KEYS {
            return Err(ListError::TooDeep(named(after)));
        }
        keys.push(key);
        match next {
            None | Some(',') => {
                let given = &text[..text.len() - after.len()];
                return Ok((ListItem::Path(Path::new(keys, given)), after.get(1..)));
            }
            Some('.') => rest = &after[1..],
            Some(other) => return Err(ListError::Unquoted(named(after), other)),
        }
    }
}

/// Makes the error of a key from the quoted part of the list.
type KeyProblem = fn(String) -> ListError;

/// Parses the key at the start of a text; also returns the text after it.
fn key(text: &str) -> Result<(Box<[u8]>, &str), KeyProblem> {
    if text.starts_with('"') {
        let end = end_of_string(text).ok_or(ListError::NotAString as KeyProblem)?;
        if text[..end].bytes().any(|byte| byte < 0x20) {
            return Err(ListError::NotAString);
        }
        let mut json = serde_json::Deserializer::from_str(&text[..end]);
        let key = super::text::bytes_of(&mut json).map_err(|_| ListError::NotAString as KeyProblem)?;
        return Ok((key, &text[end..]));
    }
    let end = text.find(SPECIAL).unwrap_or(text.len());
    if end == 0 && !text.starts_with(':') {
        return Err(ListError::EmptyKey);
    }
    Ok((text.as_bytes()[..end].into(), &text[end..]))
}

/// The end of the quoted string at the start of a text.
fn end_of_string(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().enumerate().skip(1).find_map(|(at, byte)| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends.then_some(at + 1)
    })
}

/// The text up to the first comma at or after `from`.
fn up_to_comma(text: &str, from: usize) -> &str {
    let end = text[from..].find(',').map_or(text.len(), |comma| from + comma);
    &text[..end]
}
