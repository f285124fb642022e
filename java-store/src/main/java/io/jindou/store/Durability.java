package io.jindou.store;

/** What {@link TieredTable#update} has reached when it returns. */
public enum Durability {
    /** The disk: neither the death of the process nor a loss of power takes it back. */
    SYNC,
    /** The operating system: the death of the process does not take it back, a loss of power may. */
    BUFFERED
}
