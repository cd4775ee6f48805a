//! Public REST to gRPC, nothing else.
