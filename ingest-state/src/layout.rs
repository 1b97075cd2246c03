//! Which key an entry or a snapshot has in the store.

use chrono::NaiveDate;

use crate::Scope;

/// The keys of a source's logs, and the facets that its ids have.
///
/// A log without facets keeps one set of ids. With facets (`itens`, `arquivos`) an id is done or
/// not for each facet on its own, and each has a snapshot of its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Folder above the entries' `year=`, such as `pncp`.
    pub entries_folder: String,
    /// What an entry's name starts with; `{date}` stands for `YYYYMMDD`.
    pub entry_stem: String,
    /// What an entry's name ends with, such as `.parquet`.
    pub entry_suffix: String,
    /// Folder above the snapshots' `year=` (or above the facet's folder, if there are facets).
    pub state_folder: String,
    /// The snapshot's field with the ids: `processed_ids` or `processed_keys`.
    pub ids_field: String,
    /// The facets, at most eight; none means one facet without a name.
    pub facets: Vec<String>,
    /// Whether a later version of an id that is in is appended to this same log.
    pub appends_updates: bool,
}

impl Layout {
    /// The layout that `source` has by convention: [`Layout::details`] for a name that ends with
    /// `_details`, [`Layout::parquet`] otherwise.
    pub fn of(source: &str) -> Self {
        if source.ends_with("_details") {
            Self::details(source)
        } else {
            Self::parquet(source)
        }
    }

    /// Data files that are the log: `pncp/year=…/month=…/day=…/pncp_20251022_00000007.parquet`.
    pub fn parquet(source: &str) -> Self {
        Self {
            entries_folder: source.to_owned(),
            entry_stem: format!("{source}_{{date}}_"),
            entry_suffix: ".parquet".to_owned(),
            state_folder: format!("{source}/_state"),
            ids_field: "processed_ids".to_owned(),
            facets: Vec::new(),
            appends_updates: false,
        }
    }

    /// Later versions of records that are in: `pncp/_versions/year=…/…`, a log of its own whose
    /// ids are `id@version`.
    pub fn versions(source: &str) -> Self {
        Self {
            entries_folder: format!("{source}/_versions"),
            state_folder: format!("{source}/_versions/_state"),
            ..Self::parquet(source)
        }
    }

    /// Checkpoint parts of details: `pncp_details/_parts/year=…/month=…/day=…/00000012.part`,
    /// facets `itens` and `arquivos`, later versions in the same log.
    pub fn details(source: &str) -> Self {
        Self {
            entries_folder: format!("{source}/_parts"),
            entry_stem: String::new(),
            entry_suffix: ".part".to_owned(),
            state_folder: format!("{source}/_state"),
            ids_field: "processed_keys".to_owned(),
            facets: vec!["itens".to_owned(), "arquivos".to_owned()],
            appends_updates: true,
        }
    }

    /// Entries that hold ids only, for a sink that is not Parquet:
    /// `ohlcv/_log/year=…/month=…/day=…/00000001.json`.
    pub fn json(source: &str) -> Self {
        Self {
            entries_folder: format!("{source}/_log"),
            entry_stem: String::new(),
            entry_suffix: ".json".to_owned(),
            ..Self::parquet(source)
        }
    }

    /// The facets' names; a log without facets has one, the empty name.
    pub fn facet_names(&self) -> Vec<&str> {
        if self.facets.is_empty() {
            vec![""]
        } else {
            self.facets.iter().map(String::as_str).collect()
        }
    }

    /// The folder of a day's entries, ending with `/`.
    pub fn entries_prefix(&self, scope: &Scope) -> String {
        format!("{}/{}/", self.entries_folder, day_folders(scope.date()))
    }

    /// The key of entry `number`.
    pub fn entry_key(&self, scope: &Scope, number: u64) -> String {
        let prefix = self.entries_prefix(scope);
        format!(
            "{prefix}{}{number:08}{}",
            self.stem(scope),
            self.entry_suffix
        )
    }

    /// The number of the entry whose key is `key`; `None` for anything that is not an entry of
    /// that day (files named by time, another day's, temporary files).
    pub fn entry_number(&self, scope: &Scope, key: &str) -> Option<u64> {
        let name = key.strip_prefix(&self.entries_prefix(scope))?;
        let digits = name
            .strip_prefix(&self.stem(scope))?
            .strip_suffix(&self.entry_suffix)?;
        let canonical = digits.len() == 8 || (digits.len() > 8 && !digits.starts_with('0'));
        if !canonical || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        digits.parse().ok().filter(|number| *number > 0)
    }

    /// The key of the base that holds all rows up to entry `number`, made when a day is archived.
    pub fn base_key(&self, scope: &Scope, number: u64) -> String {
        format!(
            "{}base_{number:08}{}",
            self.entries_prefix(scope),
            self.entry_suffix
        )
    }

    /// The number up to which the base at `key` holds all rows; `None` for anything else.
    pub fn base_number(&self, scope: &Scope, key: &str) -> Option<u64> {
        let name = key
            .strip_prefix(&self.entries_prefix(scope))?
            .strip_prefix("base_")?;
        let digits = name.strip_suffix(&self.entry_suffix)?;
        let number = digits.parse().ok().filter(|number| *number > 0)?;
        (self.base_key(scope, number) == key).then_some(number)
    }

    /// The key of a facet's snapshot; `facet` is empty for a log without facets.
    pub fn snapshot_key(&self, scope: &Scope, facet: &str) -> String {
        let facet = if facet.is_empty() {
            String::new()
        } else {
            format!("/{facet}")
        };
        let date = scope.date();
        let compact = date.format("%Y%m%d");
        format!(
            "{}{facet}/{}/state_{compact}.json",
            self.state_folder,
            day_folders(date)
        )
    }

    /// The key under which the bytes of entry `number` are kept that are no entry: beside the
    /// state's folder, `pncp/_quarantine/entries/year=…/month=…/day=…/{entry's name}.{mark}`.
    pub fn quarantine_key(&self, scope: &Scope, number: u64, mark: &str) -> String {
        let entry = self.entry_key(scope, number);
        let name = &entry[self.entries_prefix(scope).len()..];
        self.kept_key(scope, name, mark)
    }

    /// The key under which the bytes of a state file are kept that is none:
    /// `pncp/_quarantine/entries/year=…/month=…/day=…/{facet}_state_20251022.json.{mark}`.
    pub fn state_quarantine_key(&self, scope: &Scope, facet: &str, mark: &str) -> String {
        let state = self.snapshot_key(scope, facet);
        let name = state.rsplit_once('/').map_or(&*state, |(_, name)| name);
        if facet.is_empty() {
            return self.kept_key(scope, name, mark);
        }
        self.kept_key(scope, &format!("{facet}_{name}"), mark)
    }

    fn kept_key(&self, scope: &Scope, name: &str, mark: &str) -> String {
        let root = match self.state_folder.rsplit_once('/') {
            Some((root, _)) => format!("{root}/"),
            None => String::new(),
        };
        let day = day_folders(scope.date());
        format!("{root}_quarantine/entries/{day}/{name}.{mark}")
    }

    fn stem(&self, scope: &Scope) -> String {
        self.entry_stem
            .replace("{date}", &scope.date().format("%Y%m%d").to_string())
    }
}

/// `year=2025/month=10/day=22`.
fn day_folders(date: NaiveDate) -> String {
    date.format("year=%Y/month=%m/day=%d").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope() -> Scope {
        Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap()
    }

    #[test]
    fn keys_are_those_of_the_design() {
        let (scope, log) = (scope(), Layout::parquet("pncp"));
        assert_eq!(
            log.entry_key(&scope, 7),
            "pncp/year=2025/month=10/day=22/pncp_20251022_00000007.parquet"
        );
        assert_eq!(
            log.snapshot_key(&scope, ""),
            "pncp/_state/year=2025/month=10/day=22/state_20251022.json"
        );
        let details = Layout::of("pncp_details");
        assert_eq!(
            details.entry_key(&scope, 12),
            "pncp_details/_parts/year=2025/month=10/day=22/00000012.part"
        );
        assert_eq!(
            details.snapshot_key(&scope, "itens"),
            "pncp_details/_state/itens/year=2025/month=10/day=22/state_20251022.json"
        );
        let base = details.base_key(&scope, 3);
        assert_eq!(
            base,
            "pncp_details/_parts/year=2025/month=10/day=22/base_00000003.part"
        );
        assert_eq!(
            details.quarantine_key(&scope, 3, "9f"),
            "pncp_details/_quarantine/entries/year=2025/month=10/day=22/00000003.part.9f"
        );
        assert_eq!(details.base_number(&scope, &base), Some(3));
        assert_eq!(details.entry_number(&scope, &base), None);
    }

    #[test]
    fn only_entries_of_the_day_have_a_number() {
        let (scope, log) = (scope(), Layout::parquet("pncp"));
        for number in [1, 99_999_999, 100_000_000] {
            assert_eq!(
                log.entry_number(&scope, &log.entry_key(&scope, number)),
                Some(number)
            );
        }
        for foreign in [
            "pncp_20251022_120000.parquet",
            "pncp_20251023_00000001.parquet",
            "pncp_20251022_00000000.parquet",
            "pncp_20251022_000000001.parquet",
            "pncp_20251022_0000000x.parquet",
            "sub/pncp_20251022_00000001.parquet",
            "pncp_20251022_00000001.parquet.tmp",
        ] {
            let key = format!("{}{foreign}", log.entries_prefix(&scope));
            assert_eq!(log.entry_number(&scope, &key), None, "{foreign}");
        }
    }
}
