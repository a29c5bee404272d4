#if canImport(Musl)
  import Musl
#else
  import Glibc
#endif

/// Lines of a file or pipe, one after the other, borrowed from a buffer that is used again.
///
/// A line ends with LF or CRLF, which are not part of it; the last one may end without. A UTF-8 byte order
/// mark at the very start is skipped. Nothing is decoded or checked: a line is bytes.
package struct LineReader: ~Copyable {
  /// The longest line allowed if nothing else is said, in bytes: 128 MiB.
  package static let defaultLimit = 128 << 20

  private var input: ByteInput
  private let limit: Int
  private var next = 0
  private var lineRange = 0..<0
  /// The current line's number, from 1; 0 before the first ``advance()``.
  package private(set) var lineNumber = 0

  /// - Parameters:
  ///   - path: `-` is standard input.
  ///   - limit: the longest line allowed, in bytes.
  package init(path: String, limit: Int = LineReader.defaultLimit) throws(InputError) {
    self.init(input: try ByteInput(path: path), limit: limit)
  }

  /// Reads from an open descriptor, which stays open.
  package init(descriptor: Int32, name: String, limit: Int = LineReader.defaultLimit) {
    self.init(input: ByteInput(name: name, source: .descriptor(descriptor, closes: false)), limit: limit)
  }

  init(input: consuming ByteInput, limit: Int) {
    self.input = input
    self.limit = limit
  }

  /// The current line without its line end. Valid until the next ``advance()``.
  package var line: UnsafeRawBufferPointer { UnsafeRawBufferPointer(rebasing: input.window[lineRange]) }

  /// Whether the current line is empty or holds only spaces and tabs.
  package var isBlank: Bool { line.allSatisfy { $0 == 0x20 || $0 == 0x09 || $0 == 0x0D } }

  /// Where the current line begins, in bytes from the start of the input.
  package var byteOffset: Int { input.windowOffset + lineRange.lowerBound }

  /// Where the current line and its end are over, in bytes from the start of the input: what is done, for
  /// progress.
  package var bytesConsumed: Int { input.windowOffset + next }

  /// How many bytes were read from the input, a chunk ahead of the lines.
  package var bytesRead: Int { input.bytesRead }

  /// The input's size in bytes; nil for a pipe.
  package var totalSize: Int? { input.totalSize }

  /// Goes to the next line. Returns false at the end of the input.
  ///
  /// - Throws: ``InputError/cannotRead(path:reason:)``, ``InputError/tooLong(line:limit:)``.
  package mutating func advance() throws(InputError) -> Bool {
    var start = lineNumber == 0 ? try input.byteOrderMarkLength() : next
    var searched = start
    while true {
      let window = input.window
      if let base = window.baseAddress, let found = memchr(base + searched, 0x0A, window.count - searched) {
        let end = UnsafeRawPointer(found) - base
        return try finish(start..<end, next: end + 1)
      }
      searched = window.count - start
      guard searched <= limit + 1 else { throw .tooLong(line: lineNumber + 1, limit: limit) }
      let hasMore = try input.more(keepingFrom: start)
      start = 0
      if hasMore { continue }
      lineRange = 0..<0
      next = searched
      return searched > 0 ? try finish(0..<searched, next: searched) : false
    }
  }

  private mutating func finish(_ range: Range<Int>, next: Int) throws(InputError) -> Bool {
    lineNumber += 1
    var range = range
    if let last = input.window[range].last, last == 0x0D { range = range.lowerBound..<range.upperBound - 1 }
    guard range.count <= limit else { throw .tooLong(line: lineNumber, limit: limit) }
    lineRange = range
    self.next = next
    return true
  }
}
