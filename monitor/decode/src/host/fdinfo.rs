//! What the kernel says of a descriptor.
//!
//! In: the text of `/proc/PID/fdinfo/FD`. Out: the memory of the map behind it. Must not: take another line for it.

/// Bytes the kernel accounts to the map behind the descriptor.
#[must_use]
pub fn parse_memlock(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_of_its_name_counts() {
        let text = "pos:\t0\nmap_type:\t9\nmemlock:\t4096\nmap_id:\t7\n";
        assert_eq!(parse_memlock(text), Some(4096));
        assert_eq!(parse_memlock("pos:\t0\nmemlocked:\t1\n"), None);
        assert_eq!(parse_memlock("memlock:\tx\n"), None);
    }
}
