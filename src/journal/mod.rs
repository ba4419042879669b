//! The durable record of every session: its events, its turns, its place at the Hub.
