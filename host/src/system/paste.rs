//! Commands as people paste them into the terminal of this system: a shell, or PowerShell on Windows.

use std::path::Path;

/// `program` with variables set for it.
pub fn with_variables(variables: &[(&str, &str)], program: &str) -> String {
    if cfg!(windows) {
        let set = variables
            .iter()
            .map(|(name, value)| format!("$env:{name} = '{value}'; "));
        return format!("{}.\\{program}.exe", set.collect::<String>());
    }
    let set = variables.iter().map(|(name, value)| format!("{name}={value} "));
    format!("{}{program}", set.collect::<String>())
}

/// A path, within quotation marks where a terminal would make something of it.
pub fn path(path: &Path) -> String {
    let path = super::shown(path);
    let is_plain = |c: char| c.is_alphanumeric() || "/.,:+_-@=".contains(c) || (cfg!(windows) && c == '\\');
    if path.chars().all(is_plain) {
        return path;
    }
    let within = if cfg!(windows) { "''" } else { r"'\''" };
    format!("'{}'", path.replace('\'', within))
}

/// A request that posts JSON, which holds no single quotation mark.
pub fn post_json(url: &str, body: &str) -> String {
    if cfg!(windows) {
        return format!("Invoke-RestMethod -Method Post {url} -ContentType application/json -Body '{body}'");
    }
    format!("curl -s -X POST {url} -H 'Content-Type: application/json' \\\n     -d '{body}'")
}

/// A request that prints the JSON which it gets.
pub fn get_json(url: &str) -> String {
    if cfg!(windows) {
        return format!("Invoke-RestMethod {url} | ConvertTo-Json -Depth 20");
    }
    format!("curl -s {url}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_one_word_whatever_it_holds() {
        let quoted = |text: &str| path(Path::new(text));
        assert_eq!(quoted("/plugins/libx-1.0_a.so"), "/plugins/libx-1.0_a.so");
        assert_eq!(quoted("a 中文 b.so"), "'a 中文 b.so'");
        assert_eq!(quoted("a$(rm x).so"), "'a$(rm x).so'");
        let apostrophe = if cfg!(windows) {
            "'it''s.so'"
        } else {
            r"'it'\''s.so'"
        };
        assert_eq!(quoted("it's.so"), apostrophe);
    }

    #[test]
    fn commands_are_those_of_the_systems_own_terminal() {
        let command = with_variables(&[("A", "1"), ("B", "2")], "qt-host");
        let (post, get) = (post_json("http://h/x", "{\"a\": 1}"), get_json("http://h/y"));
        if cfg!(windows) {
            assert_eq!(command, "$env:A = '1'; $env:B = '2'; .\\qt-host.exe");
            assert!(post.starts_with("Invoke-RestMethod -Method Post http://h/x"));
            assert!(get.starts_with("Invoke-RestMethod http://h/y"));
        } else {
            assert_eq!(command, "A=1 B=2 qt-host");
            assert!(post.starts_with("curl -s -X POST http://h/x "));
            assert_eq!(get, "curl -s http://h/y");
        }
        assert!(post.contains("{\"a\": 1}"));
    }
}
