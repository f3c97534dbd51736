// Google's library for Go: credentials that are found by themselves, and the API.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log"
	"os"

	"cloud.google.com/go/compute/metadata"
	"google.golang.org/api/healthcare/v1"
	"google.golang.org/api/option"
)

type wanted struct {
	URL, Parent, File, Instance string
	Metadata                    bool
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func main() {
	var asked wanted
	check(json.NewDecoder(os.Stdin).Decode(&asked))
	facts := map[string]interface{}{}
	if asked.Metadata {
		project, err := metadata.ProjectID()
		check(err)
		email, err := metadata.Email("")
		check(err)
		zone, err := metadata.Zone()
		check(err)
		facts["project"], facts["email"], facts["zone"] = project, email, zone
		facts["available"] = metadata.OnGCE()
	}
	options := []option.ClientOption{option.WithScopes(healthcare.CloudPlatformScope)}
	if asked.URL != "" {
		options = append(options, option.WithEndpoint(asked.URL))
	}
	service, err := healthcare.NewService(context.Background(), options...)
	check(err)
	stores := service.Projects.Locations.Datasets.DicomStores
	content, err := os.ReadFile(asked.File)
	check(err)
	store := stores.StoreInstances(asked.Parent, "studies", bytes.NewReader(content))
	store.Header().Set("Content-Type", "application/dicom")
	stored, err := store.Do()
	check(err)
	facts["stored"] = stored.StatusCode
	found, err := stores.SearchForInstances(asked.Parent, "instances").Do()
	check(err)
	check(json.NewDecoder(found.Body).Decode(&[]interface{}{&map[string]interface{}{}}))
	facts["found"] = found.StatusCode
	instances := stores.Studies.Series.Instances
	retrieve := instances.RetrieveInstance(asked.Parent, asked.Instance)
	retrieve.Header().Set("Accept", "application/dicom; transfer-syntax=*")
	file, err := retrieve.Do()
	check(err)
	back, err := io.ReadAll(file.Body)
	check(err)
	facts["same"] = bytes.Equal(content, back)
	resource, err := stores.Get(asked.Parent).Do()
	check(err)
	facts["name"] = resource.Name
	_, err = instances.Delete(asked.Parent, asked.Instance).Do()
	check(err)
	check(json.NewEncoder(os.Stdout).Encode(facts))
}
