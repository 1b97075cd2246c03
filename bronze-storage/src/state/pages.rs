//! Column chunks of several row groups, decoded as if they were one.
//!
//! The Parquet library's own reader makes a compressor and a decompressor for every column chunk
//! that it opens. To make one asks the processor what it can do, which in a virtual machine takes
//! microseconds: with entries of fifty rows, a third of a merge. Here one decompressor serves all.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use parquet::arrow::FieldLevels;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, RowGroups, RowSelection};
use parquet::basic::CompressionCodec;
use parquet::column::page::{Page, PageIterator, PageMetadata, PageReader};
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{ColumnChunkMetaData, ParquetMetaData, RowGroupMetaData};
use parquet::file::serialized_reader::SerializedPageReader;
use zstd::bulk::Decompressor;
use zstd::zstd_safe;

use super::sparse::{GroupBytes, Sparse};

/// A page's header says its size in 31 bits.
const MAX_PAGE_BYTES: usize = i32::MAX as usize;

/// A decompressor that is used for one page after another; clones are the same one.
#[derive(Clone, Default)]
pub(crate) struct Inflate(Arc<Mutex<Option<Decompressor<'static>>>>);

impl fmt::Debug for Inflate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inflate").finish_non_exhaustive()
    }
}

impl Inflate {
    /// What `bytes` are uncompressed: at most `most`, which is what the chunk's footer says. Where
    /// the frame says its size, no more than that is reserved.
    fn inflate(&self, bytes: &[u8], most: usize) -> Result<Bytes> {
        if bytes.is_empty() {
            return Ok(Bytes::new());
        }
        let mut context = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let context = match &mut *context {
            Some(context) => context,
            none => none.insert(Decompressor::new()?),
        };
        let said = zstd_safe::get_frame_content_size(bytes).ok().flatten();
        let said = said.map_or(most, |said| usize::try_from(said).unwrap_or(usize::MAX));
        let most = said.min(most).min(most_of(bytes.len())).min(MAX_PAGE_BYTES);
        let mut values = Vec::new();
        let reserved = values.try_reserve_exact(most);
        reserved.map_err(|error| ParquetError::External(error.into()))?;
        context.decompress_to_buffer(bytes, &mut values)?;
        Ok(values.into())
    }
}

/// What so many bytes of zstd can become at most: a block takes three bytes or more, and holds
/// 128 KiB or less.
fn most_of(packed: usize) -> usize {
    (packed / 3 + 1).saturating_mul(128 * 1024)
}

/// Starts to decode `groups`, whose schemas are the same, one after another: of the columns in
/// `levels` the rows in `selection`, or all.
pub(crate) fn read(
    groups: &[Arc<GroupBytes>],
    levels: &FieldLevels,
    selection: Option<RowSelection>,
    batch_rows: usize,
    inflate: &Inflate,
) -> Result<ParquetRecordBatchReader> {
    let groups = Groups { groups, inflate };
    ParquetRecordBatchReader::try_new_with_row_groups(levels, &groups, batch_rows.max(1), selection)
}

struct Groups<'a> {
    groups: &'a [Arc<GroupBytes>],
    inflate: &'a Inflate,
}

impl RowGroups for Groups<'_> {
    fn num_rows(&self) -> usize {
        self.groups.iter().map(|group| group.rows()).sum()
    }

    fn column_chunks(&self, leaf: usize) -> Result<Box<dyn PageIterator>> {
        let groups = self.groups.to_vec();
        Ok(Box::new(Chunks {
            groups: groups.into_iter(),
            leaf,
            inflate: self.inflate.clone(),
        }))
    }

    fn row_groups(&self) -> Box<dyn Iterator<Item = &RowGroupMetaData> + '_> {
        Box::new(self.groups.iter().map(|group| group.metadata()))
    }

    fn metadata(&self) -> &ParquetMetaData {
        self.groups[0].file()
    }
}

/// The chunks of one leaf.
struct Chunks {
    groups: std::vec::IntoIter<Arc<GroupBytes>>,
    leaf: usize,
    inflate: Inflate,
}

impl Iterator for Chunks {
    type Item = Result<Box<dyn PageReader>>;

    fn next(&mut self) -> Option<Self::Item> {
        let group = self.groups.next()?;
        let pages = Pages::new(&group, self.leaf, self.inflate.clone());
        Some(pages.map(|pages| Box::new(pages) as Box<dyn PageReader>))
    }
}

impl PageIterator for Chunks {}

/// The pages of a column chunk.
struct Pages {
    inner: SerializedPageReader<Sparse>,
    /// With what the pages are uncompressed here, and how large they are at most; `None` where the
    /// library does it.
    inflate: Option<(Inflate, usize)>,
}

impl Pages {
    fn new(group: &GroupBytes, leaf: usize, inflate: Inflate) -> Result<Self> {
        let chunk = group.metadata().columns().get(leaf);
        let chunk = chunk.ok_or_else(|| ParquetError::General(format!("no leaf {leaf}")))?;
        let bytes = Arc::new(group.bytes().clone());
        if chunk.compression_codec() != CompressionCodec::ZSTD {
            return Ok(Self {
                inner: SerializedPageReader::new(bytes, chunk, group.rows(), None)?,
                inflate: None,
            });
        }
        // Said to be uncompressed, the pages come as they are.
        let plain = ColumnChunkMetaData::builder(chunk.column_descr_ptr())
            .set_compression_codec(CompressionCodec::UNCOMPRESSED)
            .set_num_values(chunk.num_values())
            .set_total_compressed_size(chunk.compressed_size())
            .set_total_uncompressed_size(chunk.uncompressed_size())
            .set_data_page_offset(chunk.data_page_offset())
            .set_dictionary_page_offset(chunk.dictionary_page_offset())
            .build()?;
        let most = usize::try_from(chunk.uncompressed_size()).unwrap_or(0);
        let packed = usize::try_from(chunk.compressed_size()).unwrap_or(0);
        if most > most_of(packed) {
            return Err(ParquetError::General(format!(
                "footer says that {packed} bytes of zstd are {most}. column=`{}`",
                chunk.column_path()
            )));
        }
        Ok(Self {
            inner: SerializedPageReader::new(bytes, &plain, group.rows(), None)?,
            inflate: Some((inflate, most)),
        })
    }

    fn inflated(&self, page: Page) -> Result<Page> {
        let Some((inflate, most)) = &self.inflate else {
            return Ok(page);
        };
        let whole = |buf: &mut Bytes, from: usize| -> Result<()> {
            let short = || ParquetError::General("levels beyond the end of a page".to_owned());
            let packed = buf.get(from..).ok_or_else(short)?;
            let values = inflate.inflate(packed, *most)?;
            *buf = match from {
                0 => values,
                // The levels of a page of the second version are never compressed.
                _ => [&buf[..from], &values].concat().into(),
            };
            Ok(())
        };
        let mut page = page;
        match &mut page {
            Page::DataPage { buf, .. } | Page::DictionaryPage { buf, .. } => whole(buf, 0)?,
            Page::DataPageV2 {
                buf,
                def_levels_byte_len,
                rep_levels_byte_len,
                is_compressed: true,
                ..
            } => whole(buf, (*def_levels_byte_len + *rep_levels_byte_len) as usize)?,
            Page::DataPageV2 { .. } => {}
        }
        Ok(page)
    }
}

impl Iterator for Pages {
    type Item = Result<Page>;

    fn next(&mut self) -> Option<Self::Item> {
        self.get_next_page().transpose()
    }
}

impl PageReader for Pages {
    fn get_next_page(&mut self) -> Result<Option<Page>> {
        let page = self.inner.get_next_page()?;
        page.map(|page| self.inflated(page)).transpose()
    }

    fn peek_next_page(&mut self) -> Result<Option<PageMetadata>> {
        self.inner.peek_next_page()
    }

    fn skip_next_page(&mut self) -> Result<()> {
        self.inner.skip_next_page()
    }

    fn supports_deferred_dictionary(&self) -> bool {
        self.inner.supports_deferred_dictionary()
    }

    fn take_deferred_dictionary(&mut self) -> Result<Option<Page>> {
        let page = self.inner.take_deferred_dictionary()?;
        page.map(|page| self.inflated(page)).transpose()
    }

    fn at_record_boundary(&mut self) -> Result<bool> {
        self.inner.at_record_boundary()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_takes_what_it_is_and_not_what_a_footer_says() {
        let text = b"a purchase ".repeat(1_000);
        let frame = zstd::bulk::compress(&text, 1).unwrap();
        // A frame that does not say how large it is: it was streamed.
        let streamed = zstd::stream::encode_all(&text[..], 1).unwrap();
        let inflate = Inflate::default();
        for frame in [&frame, &streamed] {
            let whole = inflate.inflate(frame, text.len()).unwrap();
            assert_eq!(whole, text);
            assert!(inflate.inflate(frame, text.len() - 1).is_err());
            // A damaged footer: the page is read, or refused.
            if let Ok(whole) = inflate.inflate(frame, usize::MAX) {
                assert_eq!(whole, text);
            }
        }
        assert!(inflate.inflate(b"no frame", usize::MAX).is_err());
    }
}
