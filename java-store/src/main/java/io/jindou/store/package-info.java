/**
 * Embedding tables larger than the device: {@link io.jindou.store.TieredTable}, a cache of rows on the device over one in host
 * memory over an embedded key-value store on disk (RocksDB).
 */
package io.jindou.store;
