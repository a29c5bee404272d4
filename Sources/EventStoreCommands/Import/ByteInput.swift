#if canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// Bytes from a regular file, a pipe or standard input, in a window that grows only when a line needs it.
///
/// Reading blocks the thread. Pointers into ``window`` are valid until the next ``more(keepingFrom:)``.
struct ByteInput: ~Copyable {
  enum Source {
    case descriptor(Int32, closes: Bool)
    /// For tests: fills the buffer and returns the number of bytes, 0 at the end.
    case closure((UnsafeMutableRawBufferPointer) -> Int)
  }

  static let chunkSize = 1 << 20

  let name: String
  /// The size in bytes of a regular file; nil for a pipe or a terminal.
  let totalSize: Int?
  private(set) var bytesRead = 0
  private(set) var isAtEnd = false
  private let source: Source
  private let chunkSize: Int
  private var buffer: UnsafeMutableRawBufferPointer
  private var filled = 0

  /// - Parameter path: `-` is standard input.
  init(path: String, chunkSize: Int = ByteInput.chunkSize) throws(InputError) {
    if path == "-" {
      self.init(
        name: "standard input", source: .descriptor(STDIN_FILENO, closes: false), chunkSize: chunkSize)
      return
    }
    var descriptor: Int32
    repeat { descriptor = open(path, O_RDONLY | O_CLOEXEC) } while descriptor < 0 && errno == EINTR
    guard descriptor >= 0 else { throw .cannotOpen(path: path, reason: String(cString: strerror(errno))) }
    var status = stat()
    if fstat(descriptor, &status) == 0, status.st_mode & S_IFMT == S_IFDIR {
      close(descriptor)
      throw .cannotOpen(path: path, reason: "it is a directory")
    }
    self.init(name: path, source: .descriptor(descriptor, closes: true), chunkSize: chunkSize)
  }

  init(name: String, source: Source, chunkSize: Int = ByteInput.chunkSize) {
    self.name = name
    self.source = source
    self.chunkSize = max(chunkSize, 1)
    buffer = .allocate(byteCount: self.chunkSize, alignment: 16)
    var status = stat()
    if case .descriptor(let descriptor, _) = source, fstat(descriptor, &status) == 0,
      status.st_mode & S_IFMT == S_IFREG
    {
      totalSize = Int(status.st_size)
      _ = posix_fadvise(descriptor, 0, 0, POSIX_FADV_SEQUENTIAL)
    } else {
      totalSize = nil
    }
  }

  deinit {
    buffer.deallocate()
    if case .descriptor(let descriptor, closes: true) = source { close(descriptor) }
  }

  /// The bytes in memory.
  @inline(__always)
  var window: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: buffer[..<filled]) }

  /// Where the window begins, in bytes from the start of the input.
  var windowOffset: Int { bytesRead - filled }

  /// Drops the window's bytes before `start`, moves the rest to the window's front and reads more behind it.
  /// Returns false at the end of the input.
  mutating func more(keepingFrom start: Int) throws(InputError) -> Bool {
    let kept = filled - start
    if kept + chunkSize > buffer.count, kept * 2 > buffer.count {
      let larger = UnsafeMutableRawBufferPointer.allocate(byteCount: buffer.count * 2, alignment: 16)
      larger.copyMemory(from: UnsafeRawBufferPointer(rebasing: buffer[start..<filled]))
      buffer.deallocate()
      buffer = larger
    } else if start > 0, let base = buffer.baseAddress {
      memmove(base, base + start, kept)
    }
    filled = kept
    if isAtEnd { return false }
    let count = try read(into: UnsafeMutableRawBufferPointer(rebasing: buffer[kept...]))
    filled += count
    bytesRead += count
    isAtEnd = count == 0
    return count > 0
  }

  /// The length of a UTF-8 byte order mark at the very start: 3 or 0. To be asked before anything else.
  mutating func byteOrderMarkLength() throws(InputError) -> Int {
    let mark: [UInt8] = [0xEF, 0xBB, 0xBF]
    // Only as long as it may still become a mark, so that a slow pipe is not waited for in vain.
    while window.count < mark.count, mark.starts(with: window) {
      guard try more(keepingFrom: 0) else { return 0 }
    }
    return window.starts(with: mark) ? mark.count : 0
  }

  private func read(into space: UnsafeMutableRawBufferPointer) throws(InputError) -> Int {
    switch source {
    case .closure(let fill): return fill(space)
    case .descriptor(let descriptor, _):
      while true {
        // A pipe or a terminal may stay silent for long: SIGINT must end that.
        if totalSize == nil, try !Self.isReadable(descriptor) { continue }
        #if canImport(Musl)
          let count = Musl.read(descriptor, space.baseAddress, space.count)
        #else
          let count = Glibc.read(descriptor, space.baseAddress, space.count)
        #endif
        if count >= 0 { return count }
        // EAGAIN: someone made it non-blocking, and someone else reads it too.
        if errno != EINTR, errno != EAGAIN {
          throw .cannotRead(path: name, reason: String(cString: strerror(errno)))
        }
      }
    }
  }

  /// Waits a moment for input, or its end. False if there is none yet.
  ///
  /// - Throws: ``InputError/interrupted`` when the task was cancelled.
  static func isReadable(_ descriptor: Int32) throws(InputError) -> Bool {
    if Task.isCancelled { throw .interrupted }
    var request = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
    return poll(&request, 1, 100) != 0
  }
}
