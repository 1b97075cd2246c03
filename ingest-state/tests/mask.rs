//! Filtering record batches by a mask.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;

use arrow_array::{Array, ArrayRef, Int32Array, LargeStringArray, RecordBatch, StringArray};
use arrow_array::{BooleanArray, StringViewArray};
use chrono::NaiveDate;
use ingest_state::{Error, Execution, Id, IdRows, JsonEntries, Layout, Log, MemoryStore, Scope};

#[tokio::test]
async fn a_mask_tells_new_rows_from_the_rest() {
    let store = Arc::new(MemoryStore::new());
    let log = Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap();
    let scope = Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap();
    let mut day = log.load(&scope).await.unwrap();
    let ids = ["a", "b"].map(|id| Id {
        facet: 0,
        id,
        version: None,
    });
    let rows = IdRows::new(ids.into_iter().collect(), &JsonEntries, vec![""]);
    day.append(&rows, &Execution::new("x")).await.unwrap();

    let texts = vec![
        Some("a"),
        Some("c"),
        None,
        Some("c"),
        Some(""),
        Some("b"),
        Some("d"),
    ];
    let columns: [ArrayRef; 3] = [
        Arc::new(StringArray::from(texts.clone())),
        Arc::new(LargeStringArray::from(texts.clone())),
        Arc::new(StringViewArray::from(texts)),
    ];
    for column in columns {
        let batch = RecordBatch::try_from_iter([("id", column)]).unwrap();
        let (mask, stats) = day.filter_mask(&batch, "id").unwrap();
        let expected = BooleanArray::from(vec![false, true, true, false, true, false, true]);
        assert_eq!((mask.null_count(), mask), (0, expected));
        let parts = (
            stats.new_records,
            stats.already_processed,
            stats.repeated,
            stats.without_id,
        );
        assert_eq!((stats.input, parts), (7, (2, 2, 1, 2)));
    }
    let numbers: ArrayRef = Arc::new(Int32Array::from(vec![1]));
    let batch = RecordBatch::try_from_iter([("id", numbers)]).unwrap();
    for field in ["id", "other"] {
        assert!(matches!(
            day.filter_mask(&batch, field),
            Err(Error::Invalid { .. })
        ));
    }
}

#[tokio::test]
async fn two_masks_tell_later_versions_as_well() {
    let store = Arc::new(MemoryStore::new());
    let log = Log::new(store, Arc::new(JsonEntries), Layout::json("pncp")).unwrap();
    let scope = Scope::new("pncp", NaiveDate::from_ymd_opt(2025, 10, 22).unwrap()).unwrap();
    let mut day = log.load(&scope).await.unwrap();
    let known = Id {
        facet: 0,
        id: "a",
        version: Some("2025-10-22T08:00:00#9f2c"),
    };
    let rows = IdRows::new([known].into_iter().collect(), &JsonEntries, vec![""]);
    day.append(&rows, &Execution::new("x")).await.unwrap();

    let (eight, nine) = (Some("2025-10-22T08:00:00"), Some("2025-10-22T09:00:00"));
    let ids = vec![Some("a"), Some("a"), Some("b"), Some("b"), None, Some("a")];
    let at = vec![eight, nine, eight, nine, nine, None];
    let columns: [(&str, ArrayRef); 2] = [
        ("id", Arc::new(StringArray::from(ids))),
        ("at", Arc::new(LargeStringArray::from(at))),
    ];
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let (new, updated, stats) = day.filter_masks(&batch, "id", "at").unwrap();
    let mask = |rows: [u8; 6]| BooleanArray::from(rows.map(|row| row == 1).to_vec());
    assert_eq!(new, mask([0, 0, 1, 0, 1, 0]));
    assert_eq!(updated, mask([0, 1, 0, 1, 0, 0]));
    assert_eq!((stats.new_records, stats.updated), (1, 2));
    assert_eq!((stats.already_processed, stats.without_id), (2, 1));
    for (id, at) in [("id", "other"), ("other", "at")] {
        let refused = day.filter_masks(&batch, id, at);
        assert!(matches!(refused, Err(Error::Invalid { .. })));
    }
}
