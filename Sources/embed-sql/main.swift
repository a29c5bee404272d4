// Writes schema/**/*.sql as Swift constants: `embed-sql OUTPUT ROOT FILE…`.
//
// schema/queries/read_log.sql becomes SQL.`queries/read_log`; the files of the other folders, in the order of their
// names, become SQL.migrations, SQL.functions and SQL.privileges.
import FoundationEssentials

let arguments = CommandLine.arguments
precondition(arguments.count > 3, "usage: embed-sql OUTPUT ROOT FILE…")
let root = arguments[2] + "/"

var source = "// Made from schema/ at build time.\nenum SQL {\n"
var lists: [String: [String]] = [:]
for path in arguments[3...].sorted() where path.hasPrefix(root) {
  let name = String(path.dropFirst(root.count).dropLast(".sql".count))
  let text = try String(contentsOfFile: path, encoding: .utf8)
  source += "  static let `\(name)` = ####\"\"\"\n"
  for line in text.split(separator: "\n", omittingEmptySubsequences: false) { source += "    \(line)\n" }
  source += "    \"\"\"####\n"
  if let folder = name.split(separator: "/").first, folder != "queries" {
    lists[String(folder), default: []].append("(\"\(name.dropFirst(folder.count + 1))\", `\(name)`)")
  }
}
for (folder, files) in lists.sorted(by: { $0.key < $1.key }) {
  source += "  static let \(folder): [(name: String, text: String)] = [\(files.joined(separator: ", "))]\n"
}
source += "}\n"
try source.write(toFile: arguments[1], atomically: true, encoding: .utf8)
