//! A bronze layer of Parquet in an object store: partitions, temporary objects passed by reference, log entries, merge
