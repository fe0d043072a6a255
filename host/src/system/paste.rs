//! Commands as people paste them into the terminal of this system: a shell, or PowerShell on Windows.

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
