//! Entries that hold ids only, as JSON: for sinks that are not Parquet.

use async_trait::async_trait;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::entry::{Entry, EntryFormat, EntryHead, EntryRows, FORMAT_VERSION};
use crate::error::FormatError;
use crate::ids::{Id, IdList};
use crate::store::{LogStore, ObjectHead};

/// JSON entries: `{"head": {…}, "entries": [{"facet": …, "id": …, "version": …}]}`.
///
/// `facet` is left out in a log without facets, `version` where there is none.
#[derive(Debug, Clone, Copy, Default)]
pub struct JsonEntries;

#[derive(Serialize, Deserialize)]
struct File<'a> {
    head: EntryHead,
    #[serde(borrow)]
    entries: Vec<Line<'a>>,
}

#[derive(Serialize, Deserialize)]
struct Line<'a> {
    #[serde(borrow, default, skip_serializing_if = "str::is_empty")]
    facet: std::borrow::Cow<'a, str>,
    #[serde(borrow)]
    id: std::borrow::Cow<'a, str>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    version: Option<std::borrow::Cow<'a, str>>,
}

#[async_trait]
impl EntryFormat for JsonEntries {
    async fn read(
        &self,
        store: &dyn LogStore,
        object: &ObjectHead,
        facets: &[&str],
    ) -> Result<Entry, FormatError> {
        let bytes = store.get_range(object, 0..object.size).await?;
        decode(&bytes, facets)
    }

    fn encode_ids(
        &self,
        head: &EntryHead,
        ids: &IdList,
        facets: &[&str],
    ) -> Result<Bytes, FormatError> {
        let line = |id: Id<'_>| -> Result<Line<'static>, FormatError> {
            let facet = facets
                .get(usize::from(id.facet))
                .ok_or_else(|| FormatError::Encode {
                    reason: format!("unknown facet {}", id.facet),
                    source: None,
                })?;
            Ok(Line {
                facet: (*facet).to_owned().into(),
                id: id.id.to_owned().into(),
                version: id.version.map(|version| version.to_owned().into()),
            })
        };
        let entries = ids.iter().map(line).collect::<Result<_, _>>()?;
        let file = File {
            head: head.clone(),
            entries,
        };
        let encoded = serde_json::to_vec(&file);
        encoded
            .map(Bytes::from)
            .map_err(|source| FormatError::Encode {
                reason: "json".to_owned(),
                source: Some(source.into()),
            })
    }
}

/// The head and ids in `bytes`.
pub(crate) fn decode(bytes: &[u8], facets: &[&str]) -> Result<Entry, FormatError> {
    let broken = |source: serde_json::Error| FormatError::Invalid {
        reason: "json".to_owned(),
        source: Some(source.into()),
    };
    /// Only what tells which release wrote it, so that a newer shape is named as such.
    #[derive(Deserialize)]
    struct Probe {
        head: ProbeHead,
    }
    #[derive(Deserialize)]
    struct ProbeHead {
        version: u32,
    }
    let found = serde_json::from_slice::<Probe>(bytes)
        .map_err(broken)?
        .head
        .version;
    if found > FORMAT_VERSION {
        return Err(FormatError::Newer {
            found,
            supported: FORMAT_VERSION,
        });
    }
    let file: File<'_> = serde_json::from_slice(bytes).map_err(broken)?;
    let mut ids = IdList::new();
    for line in &file.entries {
        let facet = facets.iter().position(|facet| *facet == line.facet);
        let facet = facet
            .and_then(|facet| u8::try_from(facet).ok())
            .ok_or_else(|| FormatError::invalid(format!("unknown facet {:?}", line.facet)))?;
        ids.push(Id {
            facet,
            id: &line.id,
            version: line.version.as_deref(),
        });
    }
    if file.head.ids != ids.len() as u64 {
        let reason = format!("head says {} ids, found {}", file.head.ids, ids.len());
        return Err(FormatError::invalid(reason));
    }
    Ok(Entry {
        head: file.head,
        ids,
    })
}

/// Ids without rows, to be appended in any [`EntryFormat`].
#[derive(Debug)]
pub struct IdRows<'a> {
    ids: IdList,
    format: &'a dyn EntryFormat,
    facets: Vec<&'a str>,
}

impl<'a> IdRows<'a> {
    /// Offers `ids` as an entry of `format`, in a log with these facet names.
    pub fn new(ids: IdList, format: &'a dyn EntryFormat, facets: Vec<&'a str>) -> Self {
        Self {
            ids,
            format,
            facets,
        }
    }
}

impl EntryRows for IdRows<'_> {
    fn ids(&self) -> &IdList {
        &self.ids
    }

    fn encode(&self, head: &EntryHead, keep: &[bool]) -> Result<Bytes, FormatError> {
        self.format
            .encode_ids(head, &self.ids.kept(keep), &self.facets)
    }
}
