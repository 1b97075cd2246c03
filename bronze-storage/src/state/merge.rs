//! The keyed merge: old file and entries become one sorted file.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use arrow_schema::SchemaRef;
use futures::{StreamExt, TryStreamExt, stream};
use ingest_state::{FormatError, Log, LogStore, ObjectHead, Scope};
use parquet::file::metadata::KeyValue;

use super::columnar::{ColumnarWriter, Columns};
use super::columns::IdColumns;
use super::entry;
use super::merge_error::MergeError;
use super::outline::{Outline, Shape, round_len};
use super::pages::Inflate;
use super::plan::Plan;
use super::run::{Cursor, Run};
use super::sparse::Opened;
use super::widen::Target;
use super::workers::Workers;
use crate::store::BronzeStore;

/// The footer's key under which the merged file says up to which entry it holds everything.
pub(super) const THROUGH_KEY: &str = "ingest-state-merged-through";
/// Rows of a row group at most.
const MAX_GROUP_ROWS: usize = 4096;
/// Rows of a row group at least, unless the memory does not do for them.
const MIN_GROUP_ROWS: usize = 256;
/// Threads that are used without being asked for.
const MAX_THREADS: usize = 4;
/// How many footers are fetched at once.
const READS_AT_ONCE: usize = 8;

/// Bounds of a merge.
#[derive(Debug, Clone)]
pub struct MergeOptions {
    /// About how many bytes a merge holds: sources, rows on their way, the file being written.
    pub memory_bytes: usize,
    /// Entries whose keys overlap that are open at once at most; more are merged in several rounds.
    pub max_sources: usize,
    /// How often a merge starts again because the file changed under it, before it gives up.
    pub max_restarts: u32,
    /// Columns that are decoded and encoded at once at most, on threads of their own that end with
    /// each row group, within `memory_bytes`. The file is the same, byte by byte, whatever their number.
    /// By default as many as there are processors, and at most four.
    pub threads: usize,
}

impl Default for MergeOptions {
    fn default() -> Self {
        Self {
            memory_bytes: 8 * 1024 * 1024,
            max_sources: 64,
            max_restarts: 10,
            threads: thread::available_parallelism()
                .map_or(1, usize::from)
                .min(MAX_THREADS),
        }
    }
}

/// What a merge left behind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merged {
    /// Where the merged file lies.
    pub key: String,
    /// The last entry it holds; 0 if the log is empty and there is no file.
    pub through: u64,
    /// Rows of the file, if this merge wrote it.
    pub rows: u64,
    /// Entries that were merged into it now.
    pub entries: u64,
    /// How many times the file was written.
    pub rounds: u32,
    /// How often the merge started again.
    pub restarts: u32,
}

/// How far a merged file is behind its log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MergeStatus {
    /// The last entry in the file; 0 without a file.
    pub through: u64,
    /// The last entry of the log.
    pub last_entry: u64,
    /// The file's size.
    pub file_bytes: u64,
    /// Bytes of the entries, and of a base, that it does not hold yet.
    pub unmerged_bytes: u64,
}

impl MergeStatus {
    /// Whether what is unmerged exceeds a third of the file.
    pub fn is_due(&self) -> bool {
        self.through < self.last_entry && self.unmerged_bytes.saturating_mul(3) > self.file_bytes
    }
}

/// Keeps a day's merged file: one row for each key, from a log with facets.
///
/// The file is a view: any of its states is a valid one, and it can be deleted at any time. Each
/// round reads the old file, pinned to its version, and the next entries, and writes a new file
/// whole. Where a day was archived it starts from the base, if that holds more than the file. Two
/// mergers at once do no harm: the loser starts again, or its older file is put right
/// by the next merge.
///
/// # Columns
/// Those of all sources, so that entries of several releases are one file: by name, inside of
/// structs and lists too, first those of the newest source, then those that only older ones have.
/// Where a source lacks a column its rows have null there. Decimals take the places of all. Of two
/// rows of one key the later gives all columns that belong to no facet; a facet comes whole from
/// the row whose version wins.
#[derive(Debug, Clone)]
pub struct Merger {
    pub(super) store: BronzeStore,
    pub(super) log: Log,
    pub(super) columns: Arc<IdColumns>,
    options: MergeOptions,
}

impl Merger {
    /// Merges entries of `log`, whose objects are in `store`.
    pub fn new(store: BronzeStore, log: Log, columns: IdColumns) -> Self {
        let options = MergeOptions::default();
        Self {
            store,
            log,
            columns: Arc::new(columns),
            options,
        }
    }

    /// The same with other bounds.
    #[must_use]
    pub fn with_options(mut self, options: MergeOptions) -> Self {
        self.options = options;
        self
    }

    /// The key of the merged file: `pncp_details/year=…/month=…/day=…/details.parquet`.
    pub fn key(&self, scope: &Scope) -> String {
        let layout = self.log.layout();
        let folder = &layout.entries_folder;
        let root = folder.strip_suffix("/_parts").unwrap_or(folder);
        let prefix = layout.entries_prefix(scope);
        format!("{root}{}details.parquet", &prefix[folder.len()..])
    }

    /// How far the merged file is behind its log. Reads its footer and lists the entries.
    ///
    /// # Errors
    /// [`MergeError::Log`], [`MergeError::Store`].
    pub async fn status(&self, scope: &Scope) -> Result<MergeStatus, MergeError> {
        let mut restarts = 0;
        // Another merger may replace the file between a look at it and the reading of its footer.
        let old = loop {
            match self.old_file(scope).await {
                Err(error) if error.is_changed() && restarts < self.options.max_restarts => {
                    restarts += 1;
                }
                old => break old?,
            }
        };
        let layout = self.log.layout();
        let listed = self.log.store().list(&layout.entries_prefix(scope)).await?;
        let through = old.as_ref().map_or(0, |(through, _)| *through);
        let unmerged = listed.iter().filter(|object| {
            let entry = layout.entry_number(scope, &object.key);
            let number = entry.or_else(|| layout.base_number(scope, &object.key));
            number.is_some_and(|number| number > through)
        });
        Ok(MergeStatus {
            through,
            last_entry: self.log.last_number(scope).await?,
            file_bytes: old.map_or(0, |(_, opened)| opened.object.size),
            unmerged_bytes: unmerged.map(|object| object.size).sum(),
        })
    }

    /// Merges whatever the file does not hold yet.
    ///
    /// # Errors
    /// See [`MergeError`]. Safe to repeat.
    ///
    /// # Cancellation
    /// Nothing of the round in progress becomes visible.
    pub async fn merge(&self, scope: &Scope) -> Result<Merged, MergeError> {
        let key = self.key(scope);
        let mut merged = Merged {
            key,
            through: 0,
            rows: 0,
            entries: 0,
            rounds: 0,
            restarts: 0,
        };
        loop {
            match self.round(scope, &mut merged).await {
                Ok(true) => {}
                Ok(false) => return Ok(merged),
                Err(error) if error.is_changed() => {
                    merged.restarts += 1;
                    if merged.restarts > self.options.max_restarts {
                        if let MergeError::Stub { .. } = error {
                            return Err(error);
                        }
                        let (key, restarts) = (merged.key, merged.restarts);
                        return Err(MergeError::Contended { key, restarts });
                    }
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// One round; whether there was anything to do. It starts from what lies in the store now,
    /// so that the round after a write sees whether another merger put an older file over it.
    async fn round(&self, scope: &Scope, merged: &mut Merged) -> Result<bool, MergeError> {
        let old = self.old_file(scope).await?;
        let last = self.log.last_number(scope).await?;
        let through = old.as_ref().map_or(0, |(through, _)| *through);
        if through > last {
            return Err(MergeError::Ahead {
                key: merged.key.clone(),
                through,
                last,
            });
        }
        merged.through = through;
        if through == last {
            return Ok(false);
        }
        let start = match self.newest_base(scope, through, last).await? {
            Some(base) => Some(base),
            None => old,
        };
        let through = start.as_ref().map_or(0, |(through, _)| *through);
        let entries = self.next_entries(scope, through + 1, last).await?;
        let taken = entries.len() as u64;
        let mut sources = Vec::with_capacity(entries.len() + 1);
        if let Some((_, opened)) = start {
            let key = opened.object.key.clone();
            let outline = Outline::of(&opened, self.columns.key(), &mut Vec::new());
            sources.push(outline.map_err(|source| MergeError::Source { key, source })?);
        }
        sources.extend(entries);
        sources.retain(|source| source.rows > 0);
        merged.rows = self.write(&merged.key, sources, through + taken).await?;
        merged.entries += taken;
        merged.rounds += 1;
        Ok(true)
    }

    /// The newest base above entry `above`, and the last entry that it holds.
    async fn newest_base(
        &self,
        scope: &Scope,
        above: u64,
        last: u64,
    ) -> Result<Option<(u64, Opened)>, MergeError> {
        let layout = self.log.layout();
        let listed = self.log.store().list(&layout.entries_prefix(scope)).await?;
        let numbers = listed
            .iter()
            .filter_map(|object| layout.base_number(scope, &object.key));
        let Some(number) = numbers.max().filter(|number| *number > above) else {
            return Ok(None);
        };
        let key = layout.base_key(scope, number);
        if number > last {
            let through = number;
            return Err(MergeError::Ahead { key, through, last });
        }
        let Some(object) = self.log.store().head(&key).await? else {
            return Ok(None);
        };
        let refused = |source| MergeError::Source {
            key: key.clone(),
            source,
        };
        let opened = Opened::open(&**self.log.store(), &object)
            .await
            .map_err(refused)?;
        let through = opened
            .footer_value(THROUGH_KEY)
            .and_then(|text| text.parse().ok());
        if through != Some(number) {
            let reason = format!("a base whose footer says {through:?}");
            return Err(refused(FormatError::invalid(reason)));
        }
        Ok(Some((number, opened)))
    }

    /// The file that lies there and the last entry it holds; `None` if it is absent or is no such
    /// file, for then it is made anew from the entries.
    async fn old_file(&self, scope: &Scope) -> Result<Option<(u64, Opened)>, MergeError> {
        let key = self.key(scope);
        let Some(object) = self.log.store().head(&key).await? else {
            return Ok(None);
        };
        let opened = match Opened::open(&**self.log.store(), &object).await {
            Ok(opened) => opened,
            Err(FormatError::Store(error)) => return Err(error.into()),
            Err(error) => {
                tracing::warn!(key, %error, "merged file cannot be read, made anew");
                return Ok(None);
            }
        };
        let through = opened
            .footer_value(THROUGH_KEY)
            .and_then(|text| text.parse().ok());
        if through.is_none() {
            tracing::warn!(key, "merged file does not say what it holds, made anew");
        }
        Ok(through.map(|through| (through, opened)))
    }

    /// The outlines of as many entries from `first` on as one round takes, beside the old file.
    async fn next_entries(
        &self,
        scope: &Scope,
        first: u64,
        last: u64,
    ) -> Result<Vec<Outline>, MergeError> {
        let known = Mutex::new(Vec::new());
        let reads = stream::iter(first..=last).map(|number| self.outline(scope, number, &known));
        let reads = reads.buffered(READS_AT_ONCE);
        let mut outlines: Vec<Outline> = reads.try_collect().await?;
        let sources = self.options.max_sources.max(1);
        let taken = round_len(&outlines, sources, self.options.memory_bytes / 2);
        outlines.truncate(taken);
        Ok(outlines)
    }

    async fn outline(
        &self,
        scope: &Scope,
        number: u64,
        known: &Mutex<Vec<Arc<Shape>>>,
    ) -> Result<Outline, MergeError> {
        let key = self.log.layout().entry_key(scope, number);
        let object = self.log.store().head(&key).await?;
        let object: ObjectHead = object.ok_or_else(|| ingest_state::Error::Gap {
            key: key.clone(),
            number,
        })?;
        let refused = |source| MergeError::Source {
            key: key.clone(),
            source,
        };
        let opened = Opened::open_footer(&**self.log.store(), &object)
            .await
            .map_err(refused)?;
        let head = entry::head(&opened).map_err(refused)?;
        head.check_scope(scope).map_err(refused)?;
        if head.stub {
            // Its rows are in a base: to merge it as it is would lose them from the view.
            return Err(MergeError::Stub { key });
        }
        let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
        Outline::of(&opened, self.columns.key(), &mut known).map_err(refused)
    }

    /// Merges `runs`, in order of their numbers, into the file at `key`. Returns its rows.
    async fn write(
        &self,
        key: &str,
        sources: Vec<Outline>,
        through: u64,
    ) -> Result<u64, MergeError> {
        let Some(target) = Target::of(&sources)? else {
            // Entries without rows only: there is no schema, and so no file, to speak of.
            return self.write_empty(key, through).await;
        };
        let marks = match &*self.columns {
            IdColumns::Facets { marks, .. } => marks.clone(),
            IdColumns::Records { .. } => Vec::new(),
        };
        let mut writer = self.writer(key, &target.schema, &target.others, &marks, through)?;
        let inflate = Inflate::default();
        let run = |(source, other): (Outline, Option<usize>)| {
            let cursor = Cursor {
                schema: source.shape.schema.clone(),
                columns: self.columns.clone(),
                inflate: inflate.clone(),
            };
            Run::new(source.object, source.lower, cursor, other)
        };
        let mut runs: Vec<Run> = sources.into_iter().zip(target.of).map(run).collect();
        let result = self
            .copy(&mut runs, Plan::new(marks.len()), &mut writer)
            .await;
        match result {
            Ok(()) => writer.finish().await,
            Err(error) => {
                writer.abort().await;
                Err(error)
            }
        }
    }

    /// A file of all entries up to `through`, without rows yet.
    fn writer(
        &self,
        key: &str,
        schema: &SchemaRef,
        others: &[SchemaRef],
        marks: &[String],
        through: u64,
    ) -> Result<ColumnarWriter, MergeError> {
        let pair = KeyValue::new(THROUGH_KEY.to_owned(), through.to_string());
        // The other half is for the sources.
        let workers = Workers {
            threads: self.options.threads,
            bytes: self.options.memory_bytes / 2,
        };
        let columns = Columns {
            schema,
            others,
            marks,
        };
        ColumnarWriter::create(&self.store, key, columns, vec![pair], workers)
    }

    /// A file without rows.
    async fn write_empty(&self, key: &str, through: u64) -> Result<u64, MergeError> {
        let field =
            arrow_schema::Field::new(self.columns.key(), arrow_schema::DataType::Utf8, false);
        let schema = Arc::new(arrow_schema::Schema::new(vec![field]));
        let writer = self.writer(key, &schema, &[], &[], through)?;
        writer.finish().await
    }

    async fn copy(
        &self,
        runs: &mut [Run],
        mut plan: Plan,
        writer: &mut ColumnarWriter,
    ) -> Result<(), MergeError> {
        let store: &dyn LogStore = &**self.log.store();
        // By key, then by place, which is by number. A run is read only when its bound is due.
        let bounds = runs
            .iter()
            .enumerate()
            .map(|(at, run)| Reverse((run.lower_bound().to_vec(), at)));
        let mut heap: BinaryHeap<_> = bounds.collect();
        let mut same = Vec::new();
        while let Some(Reverse((key_bytes, at))) = heap.pop() {
            if runs[at].key().is_none() {
                advance(&mut runs[at], store, at, &mut heap).await?;
                continue;
            }
            same.clear();
            same.push(at);
            while heap
                .peek()
                .is_some_and(|Reverse((other, _))| *other == key_bytes)
            {
                let Some(Reverse((_, other))) = heap.pop() else {
                    break;
                };
                if runs[other].key().is_none() {
                    advance(&mut runs[other], store, other, &mut heap).await?;
                } else {
                    same.push(other);
                }
            }
            same.sort_unstable();
            plan.add(runs, &same).map_err(|source| MergeError::Source {
                key: runs[at].name().to_owned(),
                source,
            })?;
            for at in same.drain(..) {
                advance(&mut runs[at], store, at, &mut heap).await?;
            }
            if self.is_full(&plan) {
                writer.write(plan.take(runs)).await?;
            }
        }
        writer.write(plan).await
    }

    /// Whether a plan is a row group: by rows, or by what it holds, if it is not too small.
    fn is_full(&self, plan: &Plan) -> bool {
        let (held, decoded) = plan.bytes();
        let memory = self.options.memory_bytes;
        plan.rows() >= MAX_GROUP_ROWS
            || held > memory
            || (plan.rows() >= MIN_GROUP_ROWS && (held > memory / 2 || decoded > memory))
    }
}

/// Moves a run on and puts it back where it belongs, if it has a row left.
async fn advance(
    run: &mut Run,
    store: &dyn LogStore,
    at: usize,
    heap: &mut BinaryHeap<Reverse<(Vec<u8>, usize)>>,
) -> Result<(), MergeError> {
    let moved = run.advance(store).await;
    let more = moved.map_err(|source| MergeError::Source {
        key: run.name().to_owned(),
        source,
    })?;
    if let Some(key) = run.key().filter(|_| more) {
        heap.push(Reverse((key.as_bytes().to_vec(), at)));
    }
    Ok(())
}
