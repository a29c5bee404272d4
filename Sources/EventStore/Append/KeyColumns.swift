internal import PostgreSQL

/// The data keys that a call brings along, as arrays.
struct KeyColumns {
  private var ids = BinaryArray(of: TypeOID.uuid)
  private var subjects = BinaryArray(of: TypeOID.text)
  private var masterKeyIDs = BinaryArray(of: TypeOID.text)
  private var wrapped = BinaryArray(of: TypeOID.bytea)

  mutating func add(_ key: DataKeyRow) {
    ids.append(key.id)
    subjects.append(key.subject)
    masterKeyIDs.append(key.masterKeyID)
    wrapped.append(key.wrapped)
  }

  /// In the order in which the functions want them; null each, where there are none.
  func add(to parameters: inout Parameters) {
    for array in [ids, subjects, masterKeyIDs, wrapped] { parameters.append(array, unless: ids.count == 0) }
  }
}
