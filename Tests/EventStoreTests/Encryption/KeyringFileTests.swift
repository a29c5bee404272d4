import FoundationEssentials
import Glibc
import Testing

@testable import EventStore

@Suite("Keyring, as a file") struct KeyringFileTests {
  private func write(_ text: String, to path: String, mode: mode_t = 0o600) throws {
    try Data(text.utf8).write(to: URL(filePath: path))
    try #require(chmod(path, mode) == 0)
  }

  private func mode(_ path: String) -> mode_t {
    var status = stat()
    return stat(path, &status) == 0 ? status.st_mode & 0o7777 : 0
  }

  @Test("a created keyring opens, is for its owner only, and leaves nothing else behind")
  func create() async throws {
    try await EncryptionFixture.withFolder { folder in
      let path = "\(folder)/a/b/keyring"
      let created = try Keyring.create(file: path)
      #expect(created.ids.count == 1)
      #expect(try Keyring.open(file: path).ids == created.ids)
      #expect(mode(path) == 0o600)
      #expect(mode("\(folder)/a") == 0o700)
      #expect(mode("\(folder)/a/b") == 0o700)
      #expect(try FileManager.default.contentsOfDirectory(atPath: "\(folder)/a/b") == ["keyring"])
    }
  }

  @Test("a keyring that is there is never overwritten")
  func exists() async throws {
    try await EncryptionFixture.withFolder { folder in
      let path = "\(folder)/keyring"
      let first = try Keyring.create(file: path)
      #expect(throws: EncryptionError.keyringExists(path: path)) { try Keyring.create(file: path) }
      #expect(try Keyring.open(file: path).ids == first.ids)
      let dangling = "\(folder)/dangling"
      try #require(symlink("\(folder)/nowhere", dangling) == 0)
      #expect(throws: EncryptionError.keyringExists(path: dangling)) { try Keyring.create(file: dangling) }
    }
  }

  @Test("of many that create it at once, one does, and all the others are told")
  func race() async throws {
    try await EncryptionFixture.withFolder { folder in
      for round in 0..<10 {
        let path = "\(folder)/\(round)/keyring"
        let results = await withTaskGroup(of: Result<[String], EncryptionError>.self) { group in
          for _ in 0..<16 {
            group.addTask { Result { () throws(EncryptionError) in try Keyring.create(file: path).ids } }
          }
          return await group.reduce(into: []) { $0.append($1) }
        }
        let winners = results.compactMap { try? $0.get() }
        #expect(winners.count == 1)
        #expect(results.filter { $0 == .failure(.keyringExists(path: path)) }.count == 15)
        let ids = try Keyring.open(file: path).ids
        #expect(ids == winners.first)
        let names = try FileManager.default.contentsOfDirectory(atPath: "\(folder)/\(round)")
        #expect(names == ["keyring"])
      }
    }
  }

  @Test(
    "a file that others may use is refused",
    arguments: [0o640, 0o604, 0o660, 0o644, 0o601, 0o620] as [mode_t])
  func exposed(mode: mode_t) async throws {
    try await EncryptionFixture.withFolder { folder in
      let path = "\(folder)/keyring"
      try write(EncryptionFixture.bareKey, to: path, mode: mode)
      let error = #expect(throws: EncryptionError.keyringExposed(path: path, mode: UInt32(mode))) {
        try Keyring.open(file: path)
      }
      #expect(error?.description.contains("chmod 600 \(path)") == true)
      #expect(error?.description.contains("0\(String(mode, radix: 8))") == true)
    }
  }

  @Test("a file that its owner may only read, and one behind a symbolic link, will do")
  func readOnly() async throws {
    try await EncryptionFixture.withFolder { folder in
      let path = "\(folder)/keyring"
      let ids = try Keyring.create(file: path).ids
      try #require(chmod(path, 0o400) == 0)
      try #require(symlink(path, "\(folder)/link") == 0)
      #expect(try Keyring.open(file: "\(folder)/link").ids == ids)
    }
  }

  @Test("several keys: all open, the last is active")
  func several() async throws {
    try await EncryptionFixture.withFolder { folder in
      let path = "\(folder)/keyring"
      let lines = try (0..<3).map { _ in try KeyringTextTests.line() }
      try write(lines.joined(), to: path)
      let keyring = try Keyring.open(file: path)
      #expect(keyring.ids == lines.map { String($0.prefix(19)) })
      #expect(keyring.active.id == keyring.ids.last)
    }
  }

  @Test("what is no keyring file is refused with its reason")
  func refused() async throws {
    try await EncryptionFixture.withFolder { folder in
      let path = "\(folder)/keyring"
      #expect(throws: EncryptionError.keyringNotFound(path: path)) { try Keyring.open(file: path) }
      #expect(throws: EncryptionError.keyringNotAFile(path: folder)) { try Keyring.open(file: folder) }
      try #require(mkfifo("\(folder)/pipe", 0o600) == 0)
      #expect(throws: EncryptionError.keyringNotAFile(path: "\(folder)/pipe")) {
        try Keyring.open(file: "\(folder)/pipe")
      }

      try write("# empty\n", to: path)
      #expect(throws: EncryptionError.keyringEmpty(source: "the keyring \(path)")) {
        try Keyring.open(file: path)
      }
      try write("", to: path)
      #expect(throws: EncryptionError.keyringEmpty(source: "the keyring \(path)")) {
        try Keyring.open(file: path)
      }
      // In a file, a key without its id is more likely a damaged line than meant.
      try write(EncryptionFixture.bareKey, to: path)
      let error = #expect(throws: EncryptionError.self) { try Keyring.open(file: path) }
      #expect(error?.description.contains("line 1: expected <id>") == true)

      let below = "\(path)/below"
      #expect(throws: EncryptionError.keyringUnreadable(path: below, reason: "Not a directory")) {
        try Keyring.open(file: below)
      }
      #expect(throws: EncryptionError.keyringUnwritable(path: below, reason: "\(path) is not a folder")) {
        try Keyring.create(file: below)
      }
    }
  }
}
