//! The files of a new plugin, as `qt-host plugins new` writes them. A test builds and tests what comes out.

/// One file of the template: its path in the new crate, and its text with placeholders.
///
/// `{{name}}` is the plugin's name, `{{crate}}` its name in Rust, `{{file}}` that of the library on this system,
/// `{{api}}` how it depends on qt-plugin-api.
pub const FILES: [(&str, &str); 9] = [
    ("Cargo.toml", include_str!("files/Cargo.toml.in")),
    ("README.md", include_str!("files/README.md.in")),
    ("config-schema.json", include_str!("files/config-schema.json.in")),
    ("src/lib.rs", include_str!("files/lib.rs.in")),
    ("src/books.rs", include_str!("files/books.rs.in")),
    ("tests/plugin.rs", include_str!("files/tests.rs.in")),
    (".github/workflows/ci.yml", include_str!("files/ci.yml.in")),
    (".gitignore", include_str!("files/gitignore.in")),
    (".rustfmt.toml", include_str!("files/rustfmt.toml.in")),
];

/// Names that cargo or the compiler keep to themselves.
const RESERVED: [&str; 12] = [
    "alloc",
    "build",
    "core",
    "deps",
    "examples",
    "proc-macro",
    "self",
    "std",
    "super",
    "test",
    "crate",
    "qt-plugin-api",
];

/// Characters of a name at most.
const MAX_NAME: usize = 64;

/// Says whether a plugin may be called so: what the manifest, cargo and the system's files allow alike.
///
/// # Errors
/// What is wrong with the name, and what would be right.
pub fn check_name(name: &str) -> Result<(), String> {
    let rule = "a name begins with a letter and holds lower-case ASCII letters, digits, `-` and `_`";
    let near: String = name
        .to_ascii_lowercase()
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || c == '_' {
                c
            } else {
                '-'
            }
        })
        .collect();
    let near = near.trim_matches(['-', '_']);
    let hint = if near != name && check_name(near).is_ok() {
        format!("; `{near}` would do")
    } else {
        String::new()
    };
    let allowed = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if name.is_empty() || !name.starts_with(|c: char| c.is_ascii_lowercase()) || !name.chars().all(allowed) {
        return Err(format!("`{name}` cannot be a plugin's name: {rule}{hint}"));
    }
    if name.len() > MAX_NAME {
        return Err(format!(
            "`{name}` cannot be a plugin's name: it has {} characters, and {MAX_NAME} are allowed",
            name.len()
        ));
    }
    // A keyword as the name of a crate compiles nowhere; cargo names the same few.
    if RESERVED.contains(&name) || KEYWORDS.contains(&name) {
        return Err(format!(
            "`{name}` cannot be a plugin's name: Rust keeps it to itself; `{name}-broker` would do"
        ));
    }
    Ok(())
}

const KEYWORDS: [&str; 38] = [
    "as", "async", "await", "break", "const", "continue", "dyn", "else", "enum", "extern", "false", "fn",
    "for", "gen", "if", "impl", "in", "let", "loop", "match", "mod", "move", "mut", "pub", "ref", "return",
    "static", "struct", "trait", "true", "try", "type", "unsafe", "use", "where", "while", "yield", "macro",
];

/// The files of a new plugin: path in the crate, and text.
///
/// `api_dependency` is the inside of a TOML table, `version = "1"` or `path = "…"`. The name must have passed
/// [`check_name`].
#[must_use]
pub fn render(name: &str, api_dependency: &str) -> Vec<(String, String)> {
    let krate = name.replace('-', "_");
    let file = format!(
        "{}{krate}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let fill = |text: &str| {
        text.replace("{{api}}", api_dependency)
            .replace("{{crate}}", &krate)
            .replace("{{file}}", &file)
            .replace("{{name}}", name)
    };
    FILES
        .iter()
        .map(|(path, text)| ((*path).to_owned(), fill(text)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_judged() {
        for good in ["a", "my-broker", "b2_x"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "a".repeat(65);
        for bad in [
            "", "2b", "-a", "a b", "券商", "../a", "a/b", "fn", "test", "con.so", &long,
        ] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(
            check_name("My Broker")
                .expect_err("capitals")
                .contains("`my-broker` would do")
        );
        assert!(check_name("fn").expect_err("keyword").contains("`fn-broker`"));
    }

    #[test]
    fn no_placeholder_is_left() {
        for (path, text) in render("my-broker", "version = \"1\"") {
            let rest = text.replace("${{", "");
            assert!(!rest.contains("{{"), "{path}: {text}");
        }
    }
}
