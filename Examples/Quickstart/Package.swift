// swift-tools-version: 6.2
import PackageDescription

// The README's example as a program of its own: CI compiles it, and a check compares it with the README.
let package = Package(
  name: "quickstart",
  dependencies: [.package(name: "eventstore", path: "../..")],
  targets: [
    .executableTarget(
      name: "Quickstart",
      dependencies: [
        .product(name: "EventStore", package: "eventstore"),
        .product(name: "EmbeddedPostgreSQL", package: "eventstore"),
      ],
      swiftSettings: [.swiftLanguageMode(.v6)])
  ]
)
