/** Embedding tables in tiers: a cache on the device, one in host memory, RocksDB on disk. */
module io.jindou.store {
    requires transitive io.jindou;
    requires rocksdbjni;

    exports io.jindou.store;
}
