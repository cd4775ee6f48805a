//! The gRPC contract of Quire's four services.
