import CZstd
import Synchronization

/// Zstandard for payloads, with contexts that are used again: making one costs more than a small payload
/// does.
enum Compression {
  /// Shorter payloads are left alone: they would save little.
  static let smallest = 1024
  private static let level: Int32 = 1

  /// Compresses `source` into `target` when that saves at least a tenth.
  ///
  /// - Returns: The compressed length; nil when it does not pay, and `target` is then to be overwritten.
  static func compress(_ source: UnsafeBufferPointer<UInt8>, into target: UnsafeMutablePointer<UInt8>) -> Int? {
    guard source.count >= smallest else { return nil }
    let limit = source.count - source.count / 10
    let context = compressors.take()
    defer { compressors.giveBack(context) }
    let size = ZSTD_compressCCtx(context.address, target, limit, source.baseAddress, source.count, level)
    // The only error here is that the result is longer than the limit.
    return ZSTD_isError(size) == 0 ? size : nil
  }

  /// How long the content of a frame is, as its header says.
  ///
  /// - Throws: ``PayloadError/malformed(_:)``: not a frame, a frame that does not say it, or more than
  ///   `limit`.
  static func contentSize(of frame: UnsafeRawBufferPointer, limit: Int) throws(PayloadError) -> Int {
    let size = ZSTD_getFrameContentSize(frame.baseAddress, frame.count)
    // zstd's two error values are the two largest; the header's macros for them are not visible from Swift.
    // What it says of a frame of zstd's that only carries notes is 0, and nothing empty is ever compressed.
    guard size > 0, size < UInt64.max - 1 else {
      throw .malformed("expected a zstd frame that states its size, found \(frame.count) other bytes")
    }
    guard size <= UInt64(max(0, limit)) else {
      throw .malformed("it would expand to \(size) bytes, and \(limit) are allowed")
    }
    return Int(size)
  }

  /// Expands a frame whose size is known.
  static func decompress(_ frame: UnsafeRawBufferPointer, size: Int) throws(PayloadError) -> [UInt8] {
    let context = decompressors.take()
    defer { decompressors.giveBack(context) }
    var failed = true
    let bytes = [UInt8](unsafeUninitializedCapacity: size) { target, initialized in
      let written = ZSTD_decompressDCtx(
        context.address, target.baseAddress, size, frame.baseAddress, frame.count)
      initialized = ZSTD_isError(written) == 0 ? min(written, size) : 0
      failed = ZSTD_isError(written) != 0 || written != size
    }
    guard !failed else { throw .malformed("its zstd frame is damaged") }
    return bytes
  }

  private static let compressors = ContextPool(
    make: { ZSTD_createCCtx() }, size: { ZSTD_sizeof_CCtx($0) }, free: { ZSTD_freeCCtx($0) })
  private static let decompressors = ContextPool(
    make: { ZSTD_createDCtx() }, size: { ZSTD_sizeof_DCtx($0) }, free: { ZSTD_freeDCtx($0) })
}

/// A few idle contexts; whoever finds none makes one.
private final class ContextPool: Sendable {
  /// Sendable: taken out of the pool by one caller at a time, and zstd contexts are not bound to a thread.
  struct Context: @unchecked Sendable {
    let address: OpaquePointer
  }

  private static let mostIdle = 16
  /// A context grows with what it compressed; one that a huge payload blew up is not kept.
  private static let largestIdle = 4 << 20

  private let idle = Mutex<[Context]>([])
  private let make: @Sendable () -> OpaquePointer?
  private let size: @Sendable (OpaquePointer) -> Int
  private let free: @Sendable (OpaquePointer) -> Int

  init(
    make: @escaping @Sendable () -> OpaquePointer?, size: @escaping @Sendable (OpaquePointer) -> Int,
    free: @escaping @Sendable (OpaquePointer) -> Int
  ) {
    self.make = make
    self.size = size
    self.free = free
  }

  func take() -> Context {
    if let context = idle.withLock({ $0.popLast() }) { return context }
    guard let address = make() else { fatalError("out of memory for a zstd context") }
    return Context(address: address)
  }

  func giveBack(_ context: Context) {
    if size(context.address) <= Self.largestIdle {
      let kept = idle.withLock { idle in
        guard idle.count < Self.mostIdle else { return false }
        idle.append(context)
        return true
      }
      if kept { return }
    }
    _ = free(context.address)
  }
}
