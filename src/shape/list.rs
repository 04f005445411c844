use super::path::{Path, SPECIAL};

/// The most paths of a list.
const MOST_PATHS: usize = 64;

/// The longest list, in bytes.
const LONGEST: usize = 4096;

/// The longest part of a list that an error repeats, in characters.
const LONGEST_EXCERPT: usize = 80;

/// An error in a list of paths. The messages quote the place in the list, shortened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ListError {
    /// There is no path in it.
    #[error("the list is empty")]
    Empty,
    /// Its text is too long.
    #[error("the list is longer than {LONGEST} bytes")]
    TooLong,
    /// It has too many paths.
    #[error("the list has more than {0} entries")]
    TooMany(usize),
    /// A path has too many keys.
    #[error("`{0}` has more than {most} keys", most = Path::MOST_KEYS)]
    TooDeep(String),
    /// Two dots or commas have nothing between them.
    #[error("`{0}` has an empty key; write it as `\"\"` if the row has one")]
    EmptyKey(String),
    /// A character that needs quotes has none.
    #[error("`{0}` has a `{1}` where it needs quotes around the key")]
    Unquoted(String, char),
    /// Something in quotes is no JSON string.
    #[error("`{0}` has a key in quotes that is not a JSON string")]
    NotAString(String),
    /// A name that begins with `@` and means nothing here.
    #[error("`{0}` is not known here; a path that begins with `@` must be in quotes")]
    Reserved(String),
    /// A path comes twice.
    #[error("`{0}` is given twice")]
    Twice(String),
    /// One path leads to a part of another's value.
    #[error("`{inner}` is inside `{outer}`, which is also given")]
    Inside {
        /// The longer path.
        inner: String,
        /// The shorter one.
        outer: String,
    },
}

impl ListError {
    /// The reason without any text of the list, for a log.
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

/// One entry of a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ListItem {
    /// A name of fanfold's, such as `@agent_id`.
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

/// Reads the values of a parameter, which follow one another as if they were one.
pub(super) fn parse<S: AsRef<str>>(values: &[S]) -> Result<Vec<ListItem>, ListError> {
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
            if items.len() == MOST_PATHS {
                return Err(ListError::TooMany(MOST_PATHS));
            }
            let (item, after) = item(text)?;
            items.push(item);
            rest = after;
        }
    }
    Ok(items)
}

/// Reads paths only, at most so many.
pub(super) fn parse_paths<S: AsRef<str>>(values: &[S], most: usize) -> Result<Vec<Path>, ListError> {
    let items = parse(values)?;
    if items.len() > most {
        return Err(ListError::TooMany(most));
    }
    items
        .into_iter()
        .map(|item| match item {
            ListItem::Path(path) => Ok(path),
            ListItem::Own(name) => Err(ListError::Reserved(excerpt(&name))),
        })
        .collect()
}

/// Refuses what is given twice.
pub(super) fn check_once(items: &[ListItem]) -> Result<(), ListError> {
    for (at, item) in items.iter().enumerate() {
        if items[..at].contains(item) {
            return Err(ListError::Twice(excerpt(&item.canonical())));
        }
    }
    Ok(())
}

/// Refuses a path that is given twice, and one that leads to a part of another's value.
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

/// A part of a list as an error repeats it.
pub(super) fn excerpt(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(LONGEST_EXCERPT).collect()
}

/// Reads the entry that a list begins with, and gives what follows its comma.
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

/// The error of a key, once the place is known.
type KeyProblem = fn(String) -> ListError;

/// Reads the key that a text begins with, and gives what follows it.
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

/// Where the string ends that a text begins with.
fn end_of_string(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.bytes().enumerate().skip(1).find_map(|(at, byte)| {
        let ends = byte == b'"' && !is_escaped;
        is_escaped = byte == b'\\' && !is_escaped;
        ends.then_some(at + 1)
    })
}

/// A text up to the first comma not before `from`.
fn up_to_comma(text: &str, from: usize) -> &str {
    let end = text[from..].find(',').map_or(text.len(), |comma| from + comma);
    &text[..end]
}
