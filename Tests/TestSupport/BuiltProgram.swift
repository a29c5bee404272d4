package import Foundation

/// A program of this package, which lies beside that of the tests.
package func builtProgram(_ name: String) throws -> URL {
  URL(fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
    .deletingLastPathComponent().appendingPathComponent(name)
}
