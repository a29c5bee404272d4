internal import FoundationEssentials
internal import Glibc

/// A small text file that is read whole.
enum TextFile {
  /// - Throws: ``InputError``; for bytes that are not UTF-8, ``CommandFailure``.
  static func contents(of path: String) throws -> [UInt8] {
    let file = path == "-" ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { throw InputError.cannotOpen(path: path, reason: String(cString: strerror(errno))) }
    defer { if file != STDIN_FILENO { close(file) } }
    var bytes: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 1 << 16)
    while true {
      let count = read(file, &buffer, buffer.count)
      if count < 0, errno == EINTR { continue }
      guard count >= 0 else { throw InputError.cannotRead(path: path, reason: String(cString: strerror(errno))) }
      guard count > 0 else { break }
      bytes += buffer[..<count]
      guard bytes.count <= 16 << 20 else {
        throw CommandFailure(.badInput, "badInput", "\(path) is larger than 16 MiB: it is no read model")
      }
    }
    guard String(validating: bytes, as: UTF8.self) != nil else {
      throw CommandFailure(.badInput, "badInput", "\(path) is not UTF-8 text")
    }
    return bytes
  }
}
