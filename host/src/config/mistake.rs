//! What is wrong with a configuration, all of it at once.

use std::fmt;

use serde_json::{Value, json};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A configuration file, and the line in it where it is known.
    File {
        /// The file as the user named it.
        path: String,
        /// Counted from 1.
        line: Option<usize>,
    },
    /// An environment variable.
    Variable(&'static str),
    /// A flag of the command line.
    Flag(&'static str),
    /// Nowhere: the value is missing.
    Nowhere,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File {
                path,
                line: Some(line),
            } => write!(f, "{path}:{line}"),
            Self::File { path, line: None } => f.write_str(path),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::Nowhere => f.write_str("configuration"),
        }
    }
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is.
    pub origin: Origin,
    /// The key as a dotted path; nothing if the whole file is at fault.
    pub key: Option<String>,
    /// The value as written, shortened; nothing for a secret or where there is none.
    pub value: Option<String>,
    /// What is wrong or what is expected, and what to do.
    pub expected: String,
    /// The known name that an unknown one resembles.
    pub near_miss: Option<String>,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.origin)?;
        match (&self.key, &self.value) {
            (Some(key), Some(value)) => write!(f, "{key} = {value}: ")?,
            (Some(key), None) => write!(f, "{key}: ")?,
            (None, _) => {}
        }
        f.write_str(&self.expected)?;
        match &self.near_miss {
            Some(near) => write!(f, "; did you mean `{near}`?"),
            None => Ok(()),
        }
    }
}

impl Mistake {
    /// The mistake for programs; a field that does not apply is null.
    pub fn to_json(&self) -> Value {
        let (place, line) = match &self.origin {
            Origin::File { path, line } => (json!({ "file": path }), *line),
            Origin::Variable(name) => (json!({ "variable": name }), None),
            Origin::Flag(name) => (json!({ "flag": name }), None),
            Origin::Nowhere => (Value::Null, None),
        };
        json!({
            "origin": place,
            "line": line,
            "key": self.key,
            "value": self.value,
            "expected": self.expected,
            "near_miss": self.near_miss,
        })
    }
}

/// Every mistake of a configuration; never empty.
#[derive(Debug, Clone, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let [only] = self.0.as_slice() {
            return only.fmt(f);
        }
        write!(f, "the configuration has {} mistakes:", self.0.len())?;
        self.0.iter().try_for_each(|mistake| write!(f, "\n  {mistake}"))
    }
}

impl From<Mistake> for Mistakes {
    fn from(mistake: Mistake) -> Self {
        Self(vec![mistake])
    }
}

/// The known name that is most like an unknown one, if any is like it enough to be a slip of the finger.
pub fn near_miss<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace(['-', '_', ' '], "");
    let wanted = plain(unknown);
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&plain(name), &wanted), name))
        .filter(|(distance, name)| *distance <= 2.min(name.chars().count() / 3))
        .min()
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn near_misses_are_slips_not_guesses() {
        let known = ["poll_interval", "api_token", "risk"];
        assert_eq!(near_miss("pol_interval", known), Some("poll_interval"));
        assert_eq!(near_miss("apiToken", known), Some("api_token"));
        assert_eq!(near_miss("API_TOKEN", known), Some("api_token"));
        assert_eq!(near_miss("rsik", known), Some("risk"));
        assert_eq!(near_miss("myrisk", known), None);
        assert_eq!(near_miss("webhook", known), None);
    }

    #[test]
    fn one_mistake_is_a_line_and_many_are_a_list() {
        let mistake = Mistake {
            origin: Origin::File {
                path: "c.json".to_owned(),
                line: Some(3),
            },
            key: Some("pol".to_owned()),
            value: None,
            expected: "unknown key".to_owned(),
            near_miss: Some("poll".to_owned()),
        };
        assert_eq!(
            Mistakes(vec![mistake.clone()]).to_string(),
            "c.json:3: pol: unknown key; did you mean `poll`?"
        );
        let many = Mistakes(vec![mistake.clone(), mistake]).to_string();
        assert!(
            many.starts_with("the configuration has 2 mistakes:\n  c.json:3"),
            "{many}"
        );
    }
}
