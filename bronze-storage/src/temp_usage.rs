//! Who keeps what below `_temp`.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::error::{Error, Result};
use crate::execution;
use crate::format::Format;
use crate::reader::ParquetFile;
use crate::store::{BronzeStore, Object};
use crate::temp::EXECUTION;
use crate::temp_ref::TEMP;

/// The object that holds an id too long for a folder's name, beside objects that have no footer.
pub(crate) const EXECUTION_OBJECT: &str = "_execution";

/// What lies below `_temp`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct TempUsage {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was written.
    pub oldest: Option<DateTime<Utc>>,
    /// The same by execution id. An id too long for a folder's name is read from one of its
    /// objects; where none has it, the folder's name stands for it.
    pub executions: BTreeMap<String, ExecutionUsage>,
}

/// What one execution keeps below `_temp`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExecutionUsage {
    /// Objects.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// When the oldest was written.
    pub oldest: DateTime<Utc>,
    /// When the newest was written.
    pub newest: DateTime<Utc>,
}

impl BronzeStore {
    /// What lies below `_temp`.
    ///
    /// One listing; and of each execution whose id is too long for a folder's name, a footer or a
    /// small object.
    ///
    /// # Errors
    /// [`Error::Denied`], [`Error::Store`].
    pub async fn temp_usage(&self) -> Result<TempUsage> {
        let mut usage = TempUsage::default();
        for (folder, objects) in by_execution(self.list(TEMP).await?) {
            let Some(of_one) = usage_of(&objects) else {
                continue;
            };
            usage.objects += of_one.objects;
            usage.bytes += of_one.bytes;
            usage.oldest = Some(usage.oldest.map_or(of_one.oldest, |o| o.min(of_one.oldest)));
            let name = match execution::decode(&folder) {
                Some(id) => id,
                None => self.full_id(&folder, &objects).await?.unwrap_or(folder),
            };
            usage.executions.insert(name, of_one);
        }
        Ok(usage)
    }

    /// The id of a folder that is a hash of it, from the first object that has it.
    async fn full_id(&self, folder: &str, objects: &[Object]) -> Result<Option<String>> {
        for object in objects {
            let id = match self.id_in(&object.key).await {
                Ok(id) => id,
                // Deleted or replaced meanwhile, or nothing of ours: another may have it.
                Err(Error::NotFound { .. } | Error::Changed { .. } | Error::Format { .. }) => None,
                Err(error) => return Err(error),
            };
            if id
                .as_ref()
                .is_some_and(|id| execution::folder(id).is_ok_and(|f| f == folder))
            {
                return Ok(id);
            }
        }
        Ok(None)
    }

    async fn id_in(&self, key: &str) -> Result<Option<String>> {
        if key.ends_with(&format!("/{EXECUTION_OBJECT}")) {
            let (bytes, _) = self.get(key).await?;
            return Ok(String::from_utf8(bytes.into()).ok());
        }
        if Format::of_key(key) != Some(Format::Parquet) {
            return Ok(None);
        }
        let file = ParquetFile::open(self, key).await?;
        Ok(file.metadata(EXECUTION).map(ToOwned::to_owned))
    }
}

/// Objects by the folder of their execution; what lies directly below `_temp` belongs to none.
pub(crate) fn by_execution(objects: Vec<Object>) -> BTreeMap<String, Vec<Object>> {
    let mut folders: BTreeMap<String, Vec<Object>> = BTreeMap::new();
    for object in objects {
        let folder = object
            .key
            .strip_prefix(TEMP)
            .and_then(|rest| rest.strip_prefix('/'));
        if let Some((folder, _)) = folder.and_then(|rest| rest.split_once('/')) {
            folders.entry(folder.to_owned()).or_default().push(object);
        }
    }
    folders
}

pub(crate) fn usage_of(objects: &[Object]) -> Option<ExecutionUsage> {
    Some(ExecutionUsage {
        objects: objects.len() as u64,
        bytes: objects.iter().map(|object| object.size).sum(),
        oldest: objects.iter().map(|object| object.last_modified).min()?,
        newest: objects.iter().map(|object| object.last_modified).max()?,
    })
}
