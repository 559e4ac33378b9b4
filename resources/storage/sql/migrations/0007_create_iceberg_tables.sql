-- The Iceberg catalogue's two tables, as the JDBC catalogue defines them for every engine.

-- Here and not on first use: two programs that open the archive for the first time at the same
-- time would both create them, and one would fail.
create table if not exists iceberg_catalog.iceberg_tables (
    catalog_name varchar(255) not null,
    table_namespace varchar(255) not null,
    table_name varchar(255) not null,
    metadata_location varchar(1000),
    previous_metadata_location varchar(1000),
    primary key (catalog_name, table_namespace, table_name)
);

create table if not exists iceberg_catalog.iceberg_namespace_properties (
    catalog_name varchar(255) not null,
    namespace varchar(255) not null,
    property_key varchar(255) not null,
    property_value varchar(1000) not null,
    primary key (catalog_name, namespace, property_key)
);
