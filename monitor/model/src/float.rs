//! Counts as the floating-point numbers that Prometheus has.
//!
//! In: a count. Out: the same as `f64`. Must not: be used where every digit matters.

/// A count as `f64`: exact up to 2^53, the nearest one beyond. Entries, bytes and packets of one node stay below.
#[expect(clippy::cast_precision_loss, reason = "exact below 2^53, which no count of a node reaches")]
#[must_use]
pub const fn float(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_exact_as_far_as_any_node_gets() {
        assert_eq!(float(0).to_bits(), 0.0_f64.to_bits());
        assert_eq!(float((1 << 53) - 1).to_string(), "9007199254740991");
    }
}
