import CSodium
import Glibc

extension Keyring {
  /// Reads the keyring in a file, straight into locked memory.
  ///
  /// A symbolic link is followed, as secrets are often mounted that way; what counts is the file it leads to.
  ///
  /// - Throws: ``EncryptionError/keyringNotFound(path:)``, ``EncryptionError/keyringNotAFile(path:)``,
  ///   ``EncryptionError/keyringExposed(path:mode:)`` when group or others have any access,
  ///   ``EncryptionError/keyringUnreadable(path:reason:)``, and what is wrong with its text, as in
  ///   ``init(text:source:)``.
  public static func open(file path: String) throws(EncryptionError) -> Keyring {
    try CryptoLibrary.start()
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let descriptor = Glibc.open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else {
      let code = errno
      throw code == ENOENT
        ? .keyringNotFound(path: path) : .keyringUnreadable(path: path, reason: reason(code))
    }
    defer { close(descriptor) }

    var status = stat()
    guard fstat(descriptor, &status) == 0 else { throw .keyringUnreadable(path: path, reason: reason(errno)) }
    guard status.st_mode & S_IFMT == S_IFREG else { throw .keyringNotAFile(path: path) }
    guard status.st_mode & 0o077 == 0 else {
      throw .keyringExposed(path: path, mode: status.st_mode & 0o7777)
    }
    guard status.st_size <= largestText else {
      throw .keyringTooLarge(source: "the keyring \(path)", limit: largestText)
    }

    let text = LockedBuffer(count: max(1, Int(status.st_size)))
    var count = 0
    while count < Int(status.st_size) {
      let got = read(descriptor, text.address + count, Int(status.st_size) - count)
      if got < 0, errno == EINTR { continue }
      guard got >= 0 else { throw .keyringUnreadable(path: path, reason: reason(errno)) }
      if got == 0 { break }
      count += got
    }
    return try parse(
      UnsafeRawBufferPointer(rebasing: text.bytes[..<count]), source: "the keyring \(path)", bareKey: false)
  }

  /// The keyring in a file; where there is none, a new one. **Back it up**: without it no payload can ever be read
  /// again.
  ///
  /// - Throws: As ``open(file:)`` and ``create(file:)``.
  public static func openOrCreate(file path: String) throws(EncryptionError) -> Keyring {
    do {
      return try open(file: path)
    } catch .keyringNotFound {
      do {
        return try create(file: path)
      } catch .keyringExists {
        // Another process made it just now: that one is it.
        return try open(file: path)
      }
    }
  }

  /// Makes a new key and a file for it, which only this user may read; folders that are missing are made as
  /// well.
  ///
  /// The file appears whole or not at all, and is on disk when this returns. Of several processes that create
  /// it at once, one does.
  ///
  /// - Throws: ``EncryptionError/keyringExists(path:)``, with the file there untouched;
  ///   ``EncryptionError/keyringUnwritable(path:reason:)``; and where AES is missing
  ///   ``EncryptionError/aesUnavailable``.
  public static func create(file path: String) throws(EncryptionError) -> Keyring {
    let key = try MasterKey.generate()
    var status = stat()
    if lstat(path, &status) == 0 { throw .keyringExists(path: path) }
    let folder = parent(of: path)
    try makeFolder(folder, for: path)

    let text = LockedBuffer(count: heading.utf8.count + lineSize)
    text.bytes.copyBytes(from: heading.utf8)
    write(key, to: text.address + heading.utf8.count)

    let temporary = "\(folder)/.keyring-\(String(UInt64.random(in: .min ... .max), radix: 16)).new"
    try writeNew(temporary, UnsafeRawBufferPointer(text.bytes), for: path)
    // Unlike a rename, a link never replaces what is there.
    let linked = link(temporary, path) == 0
    let code = errno
    unlink(temporary)
    guard linked else {
      throw code == EEXIST ? .keyringExists(path: path) : .keyringUnwritable(path: path, reason: reason(code))
    }
    try syncFolder(folder, for: path)
    // What counts is what the next start will read.
    return try open(file: path)
  }

  private static let heading = """
    # The master keys of an event store: one a line, the last one is active.
    # Whoever has this file can read the data, and without it nobody can.
    # Keep a copy in a safe place, apart from the backups of the database.

    """

  private static func writeNew(
    _ temporary: String, _ text: UnsafeRawBufferPointer, for path: String
  ) throws(EncryptionError) {
    let descriptor = Glibc.open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode_t(0o600))
    guard descriptor >= 0 else { throw .keyringUnwritable(path: path, reason: reason(errno)) }
    defer { close(descriptor) }
    var count = 0
    while count < text.count {
      let put = Glibc.write(descriptor, text.baseAddress.map { $0 + count }, text.count - count)
      if put < 0, errno == EINTR { continue }
      guard put > 0 else { throw abandoned(temporary, errno, path) }
      count += put
    }
    // The mask of the process may have taken bits away.
    guard fchmod(descriptor, mode_t(0o600)) == 0, fsync(descriptor) == 0 else {
      throw abandoned(temporary, errno, path)
    }
  }

  private static func abandoned(_ temporary: String, _ code: Int32, _ path: String) -> EncryptionError {
    unlink(temporary)
    return .keyringUnwritable(path: path, reason: reason(code))
  }

  /// Makes a folder, with those above it, for this user only. One that is there is left as it is.
  private static func makeFolder(_ folder: String, for path: String) throws(EncryptionError) {
    if mkdir(folder, mode_t(0o700)) == 0 {
      return try syncFolder(parent(of: folder), for: path)
    }
    let code = errno
    var status = stat()
    if stat(folder, &status) == 0 {
      guard status.st_mode & S_IFMT == S_IFDIR else {
        throw .keyringUnwritable(path: path, reason: "\(folder) is not a folder")
      }
      return
    }
    let above = parent(of: folder)
    guard code == ENOENT, above != folder else { throw .keyringUnwritable(path: path, reason: reason(code)) }
    try makeFolder(above, for: path)
    guard mkdir(folder, mode_t(0o700)) == 0 || errno == EEXIST else {
      throw .keyringUnwritable(path: path, reason: reason(errno))
    }
    try syncFolder(above, for: path)
  }

  /// So that the name of what was made in the folder outlives a power cut.
  private static func syncFolder(_ folder: String, for path: String) throws(EncryptionError) {
    let descriptor = Glibc.open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC)
    guard descriptor >= 0 else { throw .keyringUnwritable(path: path, reason: reason(errno)) }
    defer { close(descriptor) }
    // EINVAL: a file system that has no such thing.
    guard fsync(descriptor) == 0 || errno == EINVAL else {
      throw .keyringUnwritable(path: path, reason: reason(errno))
    }
  }

  private static func parent(of path: String) -> String {
    let trimmed = path.utf8.reversed().drop { $0 == UInt8(ascii: "/") }
    let above = trimmed.drop { $0 != UInt8(ascii: "/") }
    if above.isEmpty { return path.utf8.first == UInt8(ascii: "/") ? "/" : "." }
    let folder = above.drop { $0 == UInt8(ascii: "/") }
    return folder.isEmpty ? "/" : String(decoding: folder.reversed(), as: UTF8.self)
  }

  private static func reason(_ code: Int32) -> String { String(cString: strerror(code)) }
}
