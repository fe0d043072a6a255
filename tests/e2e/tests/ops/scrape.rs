//! A scrape, read.

use qt_test_support::get;

/// The figures of one moment.
pub struct Scrape(pub String);

impl Scrape {
    /// Asks a host.
    pub fn of(address: &str) -> Self {
        let (status, body) = get(address, "/metrics");
        assert_eq!(status, 200, "{body}");
        Self(body)
    }

    /// The sum of all series of a name whose labels have all of these parts, such as `state="REVIEW"`.
    pub fn sum(&self, name: &str, labels: &[&str]) -> f64 {
        self.values(name, labels).into_iter().sum()
    }

    /// The values of all series of a name whose labels have all of these parts.
    pub fn values(&self, name: &str, labels: &[&str]) -> Vec<f64> {
        let lines = self.0.lines().filter(|line| !line.starts_with('#'));
        lines
            .filter_map(|line| {
                let (series, value) = line.rsplit_once(' ')?;
                let (own, rest) = series.split_once('{').unwrap_or((series, ""));
                (own == name && labels.iter().all(|label| rest.contains(label)))
                    .then(|| value.parse().unwrap())
            })
            .collect()
    }
}
